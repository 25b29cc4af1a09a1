"""What is known about each provider, as data: where it lives and how it wants the key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scheduler.domain.errors import Invalid
from scheduler.domain.setup import Provider


@dataclass(frozen=True, slots=True)
class Profile:
    """base_url None: the connection must name its own. key_header / key_prefix: how the key is sent."""

    base_url: str | None
    key_header: str = "Authorization"
    key_prefix: str = "Bearer "


PROFILES: Mapping[Provider, Profile] = {
    Provider.OPENAI: Profile("https://api.openai.com/v1"),
    Provider.AZURE: Profile(None, key_header="api-key", key_prefix=""),
    Provider.ANTHROPIC: Profile("https://api.anthropic.com/v1"),
    Provider.GROQ: Profile("https://api.groq.com/openai/v1"),
    Provider.GEMINI: Profile("https://generativelanguage.googleapis.com/v1beta/openai"),
    Provider.VLLM: Profile(None),
    Provider.OPENAI_COMPATIBLE: Profile(None),
    Provider.NOOP: Profile("noop:"),
}


def base_url_of(provider: Provider, config: Mapping[str, Any]) -> str:
    """The base URL of a connection, without a trailing slash. Raises Invalid when it names none and must."""
    given = config.get("baseUrl") or PROFILES[provider].base_url
    if not isinstance(given, str):
        raise Invalid(f"config.baseUrl is required for provider {provider.value}")
    return given.rstrip("/")


def headers_of(provider: Provider, config: Mapping[str, Any], api_key: str | None) -> dict[str, str]:
    """The headers that every call of a connection carries."""
    profile = PROFILES[provider]
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if isinstance(organization := config.get("organization"), str):
        headers["OpenAI-Organization"] = organization
    if isinstance(project := config.get("project"), str):
        headers["OpenAI-Project"] = project
    extra = config.get("headers")
    if isinstance(extra, dict):
        headers.update({str(name): str(value) for name, value in extra.items()})
    if api_key:
        headers[profile.key_header] = profile.key_prefix + api_key
    return headers
