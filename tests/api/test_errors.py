"""The one table from errors to statuses, and the committed description of the API."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from api.app import described_app
from api.errors import STATUS, of_error
from api.schemas import CreateBatch
from scheduler.domain import errors
from scheduler.domain.errors import BrimError, InvariantBroken, Unavailable
from scheduler.services.batches import envelope as batch_envelope


def raised_codes(repository: Path) -> Iterator[tuple[str, str]]:
    """(code, file) of every `code="…"` of ours that the API or the core gives an error; OpenAI's are in lower case."""
    for folder in ("api", "scheduler"):
        for path in (repository / folder).rglob("*.py"):
            if "providers" in path.parts or "workers" in path.parts:
                continue  # codes of attempts: they end in an item, not in an answer
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    for keyword in node.keywords:
                        value = keyword.value
                        if keyword.arg != "code" or not isinstance(value, ast.Constant):
                            continue
                        if isinstance(value.value, str) and value.value.isupper():
                            yield value.value, str(path)


def test_every_code_has_its_status(repository: Path) -> None:
    defaults = {
        each.default_code for each in vars(errors).values() if isinstance(each, type) and issubclass(each, BrimError)
    }
    assert defaults <= set(STATUS)
    unlisted = [(code, file) for code, file in raised_codes(repository) if code not in STATUS]
    assert not unlisted


def test_the_contracts_codes_are_all_there() -> None:
    for code in ("MALFORMED_JSON", "INVALID_ID", "TOO_MUCH_WAITING", "ITEM_EXCEEDS_CAPACITY", "IN_PROGRESS"):
        assert code in STATUS
    assert all(re.fullmatch(r"[A-Z_]+", code) for code in STATUS)


def test_an_unavailable_store_says_when_to_come_again() -> None:
    answer = of_error(Unavailable("Later.", retry_after_s=2.2))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")


def test_the_inside_stays_inside() -> None:
    answer = of_error(InvariantBroken("row 5 of table x"))
    assert answer.status_code == 500
    assert b"table x" not in bytes(answer.body)


def test_the_committed_description_is_current(repository: Path) -> None:
    """Refresh it with: python -m api.app > docs/openapi.json"""
    committed = json.loads((repository / "docs" / "openapi.json").read_text())
    current = json.loads(json.dumps(described_app().openapi()))
    committed["info"].pop("version")
    current["info"].pop("version")
    assert committed == current


def test_the_description_of_a_create_body_knows_its_fields() -> None:
    described = {field.encode_name for field in msgspec.structs.fields(CreateBatch)}
    assert described == batch_envelope.KNOWN_FIELDS


def test_every_operation_has_its_own_name() -> None:
    paths = described_app().openapi()["paths"]
    names = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert len(names) == len(set(names))
