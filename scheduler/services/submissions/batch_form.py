"""What a caller of OpenAI's Batch API asks for, checked in OpenAI's words."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec

from scheduler.domain.batch import ENDPOINTS, Endpoint
from scheduler.domain.errors import BadParameter
from scheduler.domain.priority import MOST_FINE_PRIORITY
from scheduler.domain.public_ids import FILE, read_id
from scheduler.domain.submission import STANDARD_SECRET, ExecutionMode, WebhookFormat, is_readable_secret
from scheduler.services.callers.callback_guard import Resolve, refusal_of_target, resolve_host
from scheduler.services.files.form import expiry_seconds
from scheduler.services.reading.json_text import JsonText

MOST_PAIRS = 16
MOST_KEY_CHARS = 64
MOST_VALUE_CHARS = 512
LONGEST_WINDOW = timedelta(days=365)
MOST_SECRETS = 2
_WINDOW = re.compile(r"([1-9][0-9]{0,3})([hd])")
_NAMES = frozenset(
    {
        "input_file_id",
        "endpoint",
        "completion_window",
        "metadata",
        "output_expires_after",
        "priority",
        "webhook_url",
        "webhook_secret",
        "webhook_format",
        "execution_mode",
    }
)


@dataclass(frozen=True, slots=True)
class OwnWebhook:
    """Where a batch tells of itself, beside the global URLs. secrets: the newest first."""

    url: str
    secrets: tuple[str, ...] = field(repr=False)
    format: WebhookFormat


@dataclass(frozen=True, slots=True)
class BatchForm:
    """A checked request for a batch."""

    input_file_id: UUID
    endpoint: Endpoint
    completion_window: str
    window: timedelta
    metadata: Mapping[str, str] | None
    output_expires_after_s: int | None
    fine_priority: int
    execution_mode: ExecutionMode
    webhook: OwnWebhook | None


async def read_form(raw: bytes, allow_hosts: Collection[str], resolve: Resolve = resolve_host) -> BatchForm:
    """Read a request. allow_hosts: private hosts that webhooks may reach. Raises Malformed, BadParameter."""
    document = JsonText(raw)
    try:
        given = msgspec.json.decode(document.text)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise BadParameter("The body must be a JSON object.")
    if any(document.holds_surrogate(text) or "\0" in text for text in _texts(given)):
        raise BadParameter("The body holds a character that cannot be stored.")
    for name in given:
        if name not in _NAMES:
            raise BadParameter(f"Unknown parameter: '{name[:64]}'.", param=name[:64], reason="unknown_parameter")
    fields = {name: value for name, value in given.items() if value is not None}
    input_file_id = _input_file_id(fields)
    endpoint = _endpoint(fields)
    window_text, window = _window(fields)
    return BatchForm(
        input_file_id=input_file_id,
        endpoint=endpoint,
        completion_window=window_text,
        window=window,
        metadata=_metadata(fields.get("metadata")),
        output_expires_after_s=_output_expires_after(fields.get("output_expires_after")),
        fine_priority=_priority(fields.get("priority", 0)),
        execution_mode=_choice(fields, "execution_mode", ExecutionMode, ExecutionMode.HERE),
        webhook=await _webhook(fields, allow_hosts, resolve),
    )


def _texts(value: Any) -> list[str]:
    match value:
        case str():
            return [value]
        case dict():
            return [text for pair in value.items() for each in pair for text in _texts(each)]
        case list():
            return [text for each in value for text in _texts(each)]
        case _:
            return []


def _required_text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        raise BadParameter.missing(name)
    if not isinstance(value, str):
        raise _invalid(name, "must be a string")
    return value


def _input_file_id(fields: Mapping[str, Any]) -> UUID:
    text = _required_text(fields, "input_file_id")
    found = read_id(FILE, text)
    if found is None:
        raise no_such_input(text)
    return found


def no_such_input(shown_id: str) -> BadParameter:
    """The refusal of an input file that does not exist for this caller."""
    return BadParameter(f"No such File object: {shown_id[:100]}", param="input_file_id", reason="invalid_value")


def _endpoint(fields: Mapping[str, Any]) -> Endpoint:
    text = _required_text(fields, "endpoint")
    for endpoint in ENDPOINTS:
        if endpoint == text:
            return endpoint
    supported = ", ".join(f"'{endpoint}'" for endpoint in ENDPOINTS)
    raise _invalid("endpoint", f"is '{text[:64]}'. Supported values are: {supported}")


def _window(fields: Mapping[str, Any]) -> tuple[str, timedelta]:
    text = _required_text(fields, "completion_window")
    matched = _WINDOW.fullmatch(text)
    hours = int(matched[1]) * (24 if matched[2] == "d" else 1) if matched else 0
    if not hours or timedelta(hours=hours) > LONGEST_WINDOW:
        raise _invalid("completion_window", "must be hours or days, up to 365d, as in '24h'")
    return text, timedelta(hours=hours)


def _metadata(value: Any) -> Mapping[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise _invalid("metadata", "must be an object of strings")
    if len(value) > MOST_PAIRS:
        raise _invalid("metadata", f"may have at most {MOST_PAIRS} pairs")
    for key, text in value.items():
        if len(key) > MOST_KEY_CHARS:
            raise _invalid("metadata", f"has a key of more than {MOST_KEY_CHARS} characters")
        if len(text) > MOST_VALUE_CHARS:
            raise _invalid("metadata", f"has a value of more than {MOST_VALUE_CHARS} characters at '{key}'")
    return value


def _output_expires_after(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, dict) or value.get("anchor") != "created_at" or set(value) - {"anchor", "seconds"}:
        raise _invalid("output_expires_after", "must be an object of 'anchor' (only 'created_at') and 'seconds'")
    return expiry_seconds(value.get("seconds"), "output_expires_after.seconds")


def _priority(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MOST_FINE_PRIORITY:
        raise _invalid("priority", f"must be a whole number from 0 to {MOST_FINE_PRIORITY}")
    return value


def _choice(fields: Mapping[str, Any], name: str, kind: Any, default: Any) -> Any:
    value = fields.get(name, default)
    known = [each.value for each in kind]
    if value not in known:
        raise _invalid(name, f"must be one of {', '.join(known)}")
    return kind(value)


async def _webhook(fields: Mapping[str, Any], allow_hosts: Collection[str], resolve: Resolve) -> OwnWebhook | None:
    url = fields.get("webhook_url")
    if url is None:
        for name in ("webhook_secret", "webhook_format"):
            if name in fields:
                raise _invalid(name, "goes with 'webhook_url' only")
        return None
    if not isinstance(url, str):
        raise _invalid("webhook_url", "must be a string")
    refusal = await refusal_of_target(url, allow_hosts, resolve)
    if refusal is not None:
        raise _invalid("webhook_url", f"is refused: {refusal}")
    kind = _choice(fields, "webhook_format", WebhookFormat, WebhookFormat.OPENAI)
    return OwnWebhook(url, _secrets(fields.get("webhook_secret")), kind)


def _secrets(value: Any) -> tuple[str, ...]:
    given = [] if value is None else value if isinstance(value, list) else [value]
    if len(given) > MOST_SECRETS or not all(isinstance(each, str) and each for each in given):
        raise _invalid("webhook_secret", "must be a string, or two while they change, the newest first")
    if not all(is_readable_secret(each) for each in given):
        raise _invalid("webhook_secret", f"must be base64 behind '{STANDARD_SECRET}'")
    return tuple(given)


def _invalid(name: str, why: str) -> BadParameter:
    return BadParameter(f"Invalid value: '{name}' {why}.", param=name, reason="invalid_value")
