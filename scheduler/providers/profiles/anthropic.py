"""Anthropic: buckets of requests, of input tokens (without those read from the cache) and of tokens really generated.

Its documents warn that 60 requests a minute may be enforced as one a second, hence the smaller burst. A 429 for a spend
cap names no wait; a workspace's own usage limit is a 400.
"""

from scheduler.providers.profile import Charging, Dialect, OutputReserve, Profile, Shape, TokenMeter

ANTHROPIC = Profile(
    name="anthropic",
    shape=Shape.BUCKET,
    burst_ms=500,
    output_reserve=OutputReserve.LIKELY,
    charging=Charging.ACTUAL,
    token_meter=TokenMeter.APART,
    cached_free=True,
    dialect=Dialect.ANTHROPIC,
    no_credit_codes=frozenset({"billing_error", "enforced_spend_limit_reached"}),
    no_credit_phrases=(
        "your credit balance is too low",
        "you have reached your specified api usage limits",
        "you have reached your specified workspace api usage limits",
    ),
    silent_429_is_final=True,
)
