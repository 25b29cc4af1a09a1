"""What a call has cost in the end, in the provider's own counting: pure."""

from __future__ import annotations

from typing import assert_never

from scheduler.domain.outcome import Usage
from scheduler.providers.profile import Charging, Profile


def charged_tokens(profile: Profile, reserved_in: int, reserved_out: int, usage: Usage | None) -> tuple[int, int]:
    """(input, output) tokens that a call which was sent is charged with. usage None: it failed.

    What was not reported counts as reserved: too much is safe where too little is not. Tokens from the cache are left
    out where they are free.
    """
    if usage is None:
        return (0, 0) if profile.failed_calls_free else (reserved_in, reserved_out)
    used_in = usage.prompt_tokens if usage.prompt_tokens is not None else reserved_in
    used_out = usage.output_tokens if usage.output_tokens is not None else reserved_out
    match profile.charging:
        case Charging.RESERVED:
            charged = max(reserved_in, used_in), max(reserved_out, used_out)
        case Charging.ACTUAL_OUTPUT:
            charged = max(reserved_in, used_in), used_out
        case Charging.ACTUAL:
            charged = used_in, used_out
        case _:
            assert_never(profile.charging)
    cached = usage.cached_tokens if profile.cached_free and usage.cached_tokens else 0
    return max(0, charged[0] - cached), charged[1]
