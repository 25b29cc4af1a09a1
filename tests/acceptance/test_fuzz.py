"""The short form of `make fuzz`: a few cases of every operation, and none is answered by a 5xx."""

from __future__ import annotations

import pytest

from bench.fuzz import fuzz


@pytest.mark.slow(20)
@pytest.mark.timeout(300)
async def test_whatever_is_sent_no_answer_is_a_server_error() -> None:
    passes = await fuzz(300, phases="fuzzing", within_s=120, seed=1)
    assert [each.name for each in passes if not each.good] == [], "\n".join(each.output for each in passes)
    assert sum(each.cases for each in passes) >= 150
