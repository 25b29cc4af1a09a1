"""OpenAI: a bucket per organisation, project and model; what was estimated at the door stays charged, also when the
call fails."""

from scheduler.providers.profile import Dialect, Profile, Shape

OPENAI = Profile(name="openai", shape=Shape.BUCKET, dialect=Dialect.OPENAI)
