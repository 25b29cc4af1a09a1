"""Groq: requests are reported by the day, tokens by the minute; cached tokens are free. 498: its flex tier is full."""

from scheduler.providers.profile import Dialect, Profile, Shape

GROQ = Profile(
    name="groq",
    shape=Shape.MINUTE,
    cached_free=True,
    dialect=Dialect.GROQ,
    passing_statuses=frozenset({498}),
)
