"""Groq: requests are reported by the day, tokens by the minute; cached tokens are free."""

from scheduler.providers.profile import Dialect, Profile, Shape

GROQ = Profile(name="groq", shape=Shape.MINUTE, cached_free=True, dialect=Dialect.GROQ)
