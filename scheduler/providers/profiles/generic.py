"""Any provider that speaks the OpenAI shape and of which nothing more is known: careful in everything."""

from scheduler.providers.profile import Profile, Shape

GENERIC = Profile(name="generic", shape=Shape.MINUTE)
