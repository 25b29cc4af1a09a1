"""Ids as the OpenAI face shows them."""

from uuid import UUID

import pytest

from scheduler.domain.public_ids import BATCH, FILE, REQUEST, read_id, shown_id

SOME = UUID("0199c0de-0000-7000-8000-00000000beef")


@pytest.mark.parametrize("prefix", [FILE, BATCH, REQUEST])
def test_an_id_is_read_as_it_was_shown(prefix: str) -> None:
    assert shown_id(prefix, SOME) == prefix + SOME.hex
    assert read_id(prefix, shown_id(prefix, SOME)) == SOME


@pytest.mark.parametrize(
    "text",
    ["", "file-", SOME.hex, str(SOME), f"file-{SOME}", f"FILE-{SOME.hex}", f"file-{SOME.hex.upper()}",
     f"file-{SOME.hex}0", f"file-{SOME.hex[:-1]}", f"batch_{SOME.hex}", f"file-file-{SOME.hex}", f"file-{SOME.hex}\n",
     "file-../../../../etc/passwd0000000000", "file-" + "١" * 32],
)  # fmt: skip
def test_any_other_text_names_nothing(text: str) -> None:
    assert read_id(FILE, text) is None
