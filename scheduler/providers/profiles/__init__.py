"""One file per profile, and which of them a connection has."""

from __future__ import annotations

from collections.abc import Mapping

from scheduler.domain.setup import Connection, Provider
from scheduler.providers.profile import Profile
from scheduler.providers.profiles.anthropic import ANTHROPIC
from scheduler.providers.profiles.azure import AZURE
from scheduler.providers.profiles.gemini import GEMINI
from scheduler.providers.profiles.generic import GENERIC
from scheduler.providers.profiles.groq import GROQ
from scheduler.providers.profiles.openai import OPENAI
from scheduler.providers.profiles.vllm import VLLM

PROFILES: Mapping[str, Profile] = {
    profile.name: profile for profile in (OPENAI, AZURE, ANTHROPIC, GEMINI, GROQ, VLLM, GENERIC)
}
"""Every profile by its name."""

_OWN: Mapping[Provider, Profile] = {
    Provider.OPENAI: OPENAI,
    Provider.AZURE: AZURE,
    Provider.ANTHROPIC: ANTHROPIC,
    Provider.GEMINI: GEMINI,
    Provider.GROQ: GROQ,
    Provider.VLLM: VLLM,
    Provider.OPENAI_COMPATIBLE: GENERIC,
    Provider.NOOP: GENERIC,
}


def profile_of(connection: Connection) -> Profile:
    """The profile of a connection: the one it names, else its provider's own.

    "openai-compatible" is another name of the generic one. A name that is not known (any more) is the generic one too:
    it is the most careful.
    """
    if connection.profile is None:
        return _OWN[connection.provider]
    return PROFILES.get(connection.profile, GENERIC)


def is_profile(name: str) -> bool:
    """Tell whether a connection may name this profile."""
    return name in PROFILES or name == Provider.OPENAI_COMPATIBLE
