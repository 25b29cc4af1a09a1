"""What the items of a batch are taken to cost."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from msgspec import Raw

from scheduler.domain.batch import NewItem
from scheduler.domain.capacity import Capacity, Period
from scheduler.domain.output_length import OutputGuess
from scheduler.domain.setup import Provider
from scheduler.services.items.check import ItemCheck
from scheduler.services.items.terms import terms_of
from scheduler.services.reading.json_text import JsonText
from scheduler.services.reading.problems import Problems
from tests.store.factories import Tenant, connection_in, resource_in

TENANT = Tenant(*(UUID(int=i) for i in range(1, 7)))


def checked(likely: int | None, provider: Provider, tokens: int | None = None, **request: Any) -> NewItem | None:
    """An item; None when it is refused. likely: output tokens. tokens: the connection's limit."""
    capacity = (Capacity(Period.MINUTE, tokens=tokens),)
    connection = connection_in(TENANT, provider=provider, capacity=capacity)
    resource = resource_in(TENANT, TENANT.resource_id, "r", likely_output_tokens=likely)
    body = {"resourceId": "r", "request": {"messages": [{"role": "user", "content": "hi"}]} | request}
    text = json.dumps(body).encode()
    problems = Problems()
    check = ItemCheck(JsonText(text), terms_of([resource], [connection], None, ()), 16, problems)
    items = check.check(0, [Raw(text)])
    assert (len(problems) == 0) == bool(items)
    return items[0] if items else None


def reserved(likely: int | None, provider: Provider, tokens: int | None = None, **request: Any) -> int | None:
    """Output tokens reserved for such an item."""
    item = checked(likely, provider, tokens, **request)
    return item.out_tokens if item else None


def guess_of(provider: Provider, **request: Any) -> OutputGuess | None:
    """How the answer of such an item is to be guessed again."""
    item = checked(None, provider, **request)
    assert item is not None
    return item.guess


def test_a_request_without_a_limit_reserves_what_is_likely() -> None:
    assert reserved(None, Provider.OPENAI) == 16
    assert reserved(300, Provider.OPENAI) == 300
    assert reserved(300, Provider.OPENAI, max_tokens=4_000) == 4_000


def test_where_use_is_charged_no_more_than_is_likely_is_reserved() -> None:
    assert reserved(None, Provider.ANTHROPIC, max_tokens=4_000) == 4_000
    assert reserved(300, Provider.ANTHROPIC, max_tokens=4_000) == 300
    assert reserved(300, Provider.ANTHROPIC, max_tokens=40) == 40


def test_a_guess_makes_no_item_too_large() -> None:
    cut = reserved(5_000, Provider.OPENAI, tokens=1_000)
    assert cut is not None
    assert 900 < cut < 1_000
    assert reserved(5_000, Provider.OPENAI, tokens=1_000, max_tokens=5_000) is None


@pytest.mark.parametrize("field", ["tools", "functions", "response_format", "text", "instructions"])
def test_what_goes_along_with_a_prompt_is_counted(field: str) -> None:
    schema = {"type": "object", "properties": {f"field_{i}": {"type": "string"} for i in range(100)}}
    plain = checked(None, Provider.OPENAI)
    with_it: dict[str, Any] = {field: schema}
    more = checked(None, Provider.OPENAI, **with_it)
    assert plain is not None
    assert more is not None
    assert more.in_tokens > plain.in_tokens + 500


def test_an_item_tells_how_its_answer_is_to_be_guessed_again() -> None:
    assert guess_of(Provider.OPENAI) == OutputGuess()
    assert guess_of(Provider.OPENAI, n=3) == OutputGuess(copies=3)
    assert guess_of(Provider.OPENAI, max_tokens=4_000) is None
    assert guess_of(Provider.ANTHROPIC, max_tokens=4_000) == OutputGuess(most_tokens=4_000)
    assert guess_of(Provider.ANTHROPIC) == OutputGuess()
