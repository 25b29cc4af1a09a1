"""What calls cost in the end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.outcome import Usage
from scheduler.providers.charging import charged_tokens
from scheduler.providers.profile import Charging, Profile
from scheduler.providers.profiles import PROFILES
from scheduler.providers.profiles.generic import GENERIC


def charging(rule: Charging) -> Profile:
    return replace(GENERIC, charging=rule)


@pytest.mark.parametrize(
    ("rule", "usage", "charged"),
    [
        (Charging.RESERVED, Usage(5, 7), (10, 100)),
        (Charging.RESERVED, Usage(15, 700), (15, 700)),
        (Charging.ACTUAL_OUTPUT, Usage(5, 7), (10, 7)),
        (Charging.ACTUAL, Usage(5, 7), (5, 7)),
        (Charging.ACTUAL, Usage(None, 7), (10, 7)),
        (Charging.ACTUAL, Usage(None, None), (10, 100)),
        (Charging.ACTUAL, Usage(0, 0), (0, 0)),
    ],
)
def test_each_rule_charges_as_it_says(rule: Charging, usage: Usage, charged: tuple[int, int]) -> None:
    assert charged_tokens(charging(rule), 10, 100, usage) == charged


def test_cached_tokens_are_free_where_the_profile_says_so() -> None:
    assert charged_tokens(PROFILES["anthropic"], 10, 100, Usage(2_000, 7, 1_990)) == (10, 7)
    assert charged_tokens(PROFILES["groq"], 10, 100, Usage(10, 7, 8)) == (2, 100)
    assert charged_tokens(PROFILES["openai"], 10, 100, Usage(10, 7, 8)) == (10, 100)


def test_a_failed_call_is_charged_unless_failures_are_free() -> None:
    assert charged_tokens(PROFILES["openai"], 10, 100, None) == (10, 100)
    assert charged_tokens(PROFILES["vllm"], 10, 100, None) == (0, 0)


counts = st.integers(0, 10**9)


@given(st.sampled_from(list(PROFILES.values())), counts, counts, st.builds(Usage, *[st.none() | counts] * 3))
def test_nothing_is_charged_below_zero(profile: Profile, reserved_in: int, reserved_out: int, usage: Usage) -> None:
    charged_in, charged_out = charged_tokens(profile, reserved_in, reserved_out, usage)
    assert charged_in >= 0
    assert charged_out >= (usage.output_tokens or 0)
