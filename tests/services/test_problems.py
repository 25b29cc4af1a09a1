"""What callers are told about bad input: which field it is, and what would be right."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from scheduler.domain.errors import Invalid
from scheduler.services.batches.envelope import CallbackOptionsBody
from scheduler.services.budgets.capacity_body import CapacityBody
from scheduler.services.items.check import ItemBody
from scheduler.services.reading.json_text import decoded
from scheduler.services.reading.problems import located
from scheduler.services.reading.wording import choices_at
from scheduler.services.setup.bodies import ApiKeyBody, ConnectionBody, ResourceBody

CAPACITIES = list[CapacityBody]


@pytest.mark.parametrize(
    ("kind", "text", "field", "message"),
    [
        (ItemBody, '{"resourceId": "r"}', "request", "is required"),
        (ItemBody, '{"resourceId": "r", "request": {}, "foo": 1}', "foo", "is not a known field"),
        (
            ItemBody,
            '{"resource": "r", "request": {}}',
            "resource",
            "is not a known field; did you mean resourceId?",
        ),
        (ItemBody, '{"resourceId": 1, "request": {}}', "resourceId", "must be a string, not a whole number"),
        (ItemBody, "[]", "", "must be an object, not a list"),
        (
            ItemBody,
            '{"resourceId": "r", "request": {}, "endpoint": "/v1/images"}',
            "endpoint",
            "must be one of /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/moderations, /v1/responses,"
            " not /v1/images",
        ),
        (CAPACITIES, '[{"period": "minute", "requests": 0}]', "[0].requests", "must be at least 1"),
        (CAPACITIES, '[{"period": "minute", "requests": 1.5}]', "[0].requests", "must be a whole number or null"),
        (CAPACITIES, '[{"period": "minute", "burstSeconds": 0}]', "[0].burstSeconds", "must be more than 0"),
        (CAPACITIES, '[{"period": "year"}]', "[0].period", "must be one of SECOND, MINUTE, HOUR"),
        (CAPACITIES, '[{"period": "day", "dimension": "x"}]', "[0].dimension", "must be one of source-ip, not x"),
        (CallbackOptionsBody, '{"url": "u", "events": []}', "events", "must not be empty"),
        (CallbackOptionsBody, '{"url": "u", "events": ["x"]}', "events[0]", "must be one of all, batch_update, item_"),
        (CallbackOptionsBody, '{"url": "u", "events": ["all"], "headers": {"Host": "x"}}', "headers", "cannot set"),
        (ConnectionBody, '{"provider": "foo"}', "provider", "must be one of openai, azure, anthropic"),
        (ConnectionBody, '{"connectionId": "x"}', "connectionId", "must be a UUID"),
        (ConnectionBody, '{"name": "a\\u0001"}', "name", "holds a character that is not allowed"),
        (ConnectionBody, '{"maxInFlight": 2147483648}', "maxInFlight", "must be at most 1000000000"),
        (ResourceBody, '{"model": {"model": "m"}}', "model.connectionId", "or connectionName is required"),
        (ResourceBody, '{"fallbackModels": [{"model": 1}]}', "fallbackModels[0].model", "must be a string"),
        (ApiKeyBody, '{"scopes": ["foo"]}', "scopes[0]", "must be one of batch:*, completion-batch:cancel"),
        (ApiKeyBody, '{"enabled": "yes"}', "enabled", "must be true or false, not a string"),
    ],
)
def test_each_refusal_names_its_field_and_what_would_be_right(kind: Any, text: str, field: str, message: str) -> None:
    with pytest.raises(msgspec.ValidationError) as raised:
        msgspec.json.decode(text, type=kind)
    found = located(raised.value, kind)
    assert found[0] == field
    assert found[1].startswith(message)


def test_a_refused_body_says_so_in_its_message() -> None:
    with pytest.raises(Invalid) as raised:
        decoded(b'{"priority": "urgent"}', ResourceBody)
    assert raised.value.message == "priority: must be one of trivial, low, normal, high, critical, not urgent"


@pytest.mark.parametrize("path", ["nowhere", "capacity[0].nowhere", "name", "config[...]"])
def test_where_anything_goes_there_are_no_choices(path: str) -> None:
    assert choices_at(ConnectionBody, path) == []
