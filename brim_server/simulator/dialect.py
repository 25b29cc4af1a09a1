"""OpenAI's words: rate headers, durations, error bodies."""

from collections.abc import Iterable
from typing import Final

import msgspec

from brim_server.simulator.door import Dimension, Refused, TooLarge
from brim_server.simulator.options import RetryAfterHeaders

_LONG_NAME: Final = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)"}
_ORGANIZATION: Final = "org-simulated"

encode = msgspec.json.Encoder().encode


def duration(us: int) -> str:
    """As Go writes it: `0s`, `17ms`, `1s`, `9.816s`, `6m0s`, `1h0m0s`; rounded up to a millisecond, so that
    whoever waits that long is not early."""
    total_ms = -(-us // 1000)
    if total_ms == 0:
        return "0s"
    if total_ms < 1000:
        return f"{total_ms}ms"
    total_s, ms = divmod(total_ms, 1000)
    minutes, seconds = divmod(total_s, 60)
    last = f"{seconds}.{ms:03d}".rstrip("0") + "s" if ms else f"{seconds}s"
    if minutes < 60:
        return f"{minutes}m{last}" if minutes else last
    return f"{minutes // 60}h{minutes % 60}m{last}"


def rate_headers(rates: Iterable[tuple[Dimension, int, int, int]]) -> bytes:
    """Header lines of (dimension, limit, remaining, reset_us)."""
    return "".join(
        [
            f"x-ratelimit-limit-{dimension}: {limit}\r\n"
            f"x-ratelimit-remaining-{dimension}: {remaining}\r\n"
            f"x-ratelimit-reset-{dimension}: {duration(reset_us)}\r\n"
            for dimension, limit, remaining, reset_us in rates
        ]
    ).encode()


def retry_after_headers(wait_us: int, which: RetryAfterHeaders) -> bytes:
    """Header lines; both are rounded up. `retry-after` is in whole seconds."""
    lines = ""
    if which in ("both", "seconds"):
        lines += f"retry-after: {-(-wait_us // 1_000_000)}\r\n"
    if which in ("both", "ms"):
        lines += f"retry-after-ms: {-(-wait_us // 1000)}\r\n"
    return lines.encode()


def error(message: str, kind: str, code: str | None = None, param: str | None = None) -> bytes:
    """The body of a refusal; `kind` is OpenAI's `type`."""
    return encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


def invalid_request(message: str, param: str | None = None, code: str | None = None) -> bytes:
    """The body of a 400."""
    return error(message, "invalid_request_error", code, param)


def limit_reached(model: str, refused: Refused) -> bytes:
    """The body of a 429, in OpenAI's words."""
    return error(
        f"Rate limit reached for {model} in organization {_ORGANIZATION} on {_LONG_NAME[refused.dimension]}: "
        f"Limit {refused.limit}, Used {refused.used}, Requested {refused.requested}. "
        f"Please try again in {duration(refused.retry_after_us)}.",
        refused.dimension,
        "rate_limit_exceeded",
    )


def request_too_large(model: str, too_large: TooLarge) -> bytes:
    """The body of a 429 for a request that is larger than the limit itself."""
    return error(
        f"Request too large for {model} in organization {_ORGANIZATION} on "
        f"{_LONG_NAME[too_large.dimension]}: Limit {too_large.limit}, Requested {too_large.requested}. "
        "The input or output tokens must be reduced in order to run successfully.",
        too_large.dimension,
        "rate_limit_exceeded",
    )


def scripted_error(status: int, code: str | None, message: str | None) -> bytes:
    """The body of a fault that was asked for, with the type that belongs to its status."""
    kind, default_code, default_message = _ERRORS.get(status, _ERRORS[500] if status >= 500 else _ERRORS[400])
    return error(message or default_message, kind, code or default_code)


_ERRORS: Final[dict[int, tuple[str, str | None, str]]] = {
    400: ("invalid_request_error", None, "The request was refused, as it asked."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Country not supported."),
    404: (
        "invalid_request_error",
        "model_not_found",
        "The model does not exist or you do not have access to it.",
    ),
    408: ("server_error", "timeout", "The request timed out."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached. Please slow down."),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    503: (
        "server_error",
        "service_unavailable",
        "The engine is currently overloaded, please try again later.",
    ),
    529: ("overloaded_error", "overloaded", "Overloaded."),
}
