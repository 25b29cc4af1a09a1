"""Gemini: requests and input tokens a minute, requests a day; it says so only in the bodies of its refusals."""

from scheduler.providers.profile import Charging, Dialect, OutputReserve, Profile, Shape, TokenMeter

GEMINI = Profile(
    name="gemini",
    shape=Shape.MINUTE,
    output_reserve=OutputReserve.LIKELY,
    charging=Charging.ACTUAL,
    token_meter=TokenMeter.INPUT,
    dialect=Dialect.GEMINI,
    quota_zone="us-pacific",
)
