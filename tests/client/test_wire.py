"""The server's JSON, read: what is odd is left out, what must be there is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from brim.endpoints import quoted
from brim.errors import UnexpectedAnswer
from brim.explanations import Connection, Explanation, connections_of
from brim.file_records import FileBatch, StoredFile


def test_an_odd_time_or_count_does_not_lose_the_answer_around_it() -> None:
    raw = {"message": "It waits.", "earliestStart": "soon", "itemsAhead": "many", "expectedEnd": "2030-01-31T12:00:00Z"}
    found = Explanation.from_wire(raw)
    assert (found.message, found.earliest_start, found.items_ahead) == ("It waits.", None, 0)
    assert found.expected_end is not None
    assert found.expected_end.year == 2030
    assert found.raw["earliestStart"] == "soon"


def test_a_batch_of_files_is_read_although_its_parts_are_missing() -> None:
    found = FileBatch.from_wire({"object": "batch", "id": "b", "status": "failed", "errors": {"data": [{}, "odd"]}})
    assert (found.total, found.input_tokens, found.output_file_id, len(found.faults)) == (0, 0, None, 2)


@pytest.mark.parametrize("raw", [None, [], "text", {}, {"object": "list", "id": "f", "bytes": 1, "filename": "x"}])
def test_what_is_no_file_is_refused(raw: Any) -> None:
    with pytest.raises(UnexpectedAnswer, match="no file"):
        StoredFile.from_wire(raw)


def test_lists_hold_what_they_say() -> None:
    assert connections_of({"data": [{"connectionId": "c"}]}) == (Connection("c", "", "", (), {}),)
    with pytest.raises(UnexpectedAnswer, match="no list of connections"):
        connections_of({"data": {}})


@pytest.mark.parametrize(
    ("part", "in_a_path"), [(".", "%2E"), ("..", "%2E%2E"), ("a/b", "a%2Fb"), ("f.jsonl", "f.jsonl")]
)
def test_an_id_leads_to_no_other_path(part: str, in_a_path: str) -> None:
    assert quoted(part) == in_a_path
