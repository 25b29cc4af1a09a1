"""Profiles and addresses of connections."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from scheduler.domain.batch import Endpoint
from scheduler.domain.errors import Invalid
from scheduler.domain.setup import Connection, Provider
from scheduler.providers.addresses import AZURE_API_VERSION, address_of, headers_of
from scheduler.providers.profile import Shape
from scheduler.providers.profiles import PROFILES, is_profile, profile_of
from scheduler.providers.profiles.generic import GENERIC
from tests.architecture.tree import ROOT
from tests.store.factories import Tenant, connection_in

TENANT = Tenant(*(UUID(int=i) for i in range(1, 7)))
CHAT: Endpoint = "/v1/chat/completions"


def connection(provider: Provider, profile: str | None = None) -> Connection:
    return connection_in(TENANT, provider=provider, profile=profile)


def test_each_profile_has_a_file_of_its_own_and_a_safe_pace() -> None:
    files = {path.stem for path in (ROOT / "scheduler" / "providers" / "profiles").glob("*.py")} - {"__init__"}
    assert set(PROFILES) == files
    for profile in PROFILES.values():
        assert 0.9 < profile.pace < 1
        assert 0 < profile.burst_ms <= 1_000
        assert (profile.shape is Shape.SLICES) == (profile.pace < 0.99)
        assert all(each == each.lower() for each in (*profile.no_credit_codes, *profile.no_credit_phrases))


def test_every_profile_is_described_to_users() -> None:
    text = (ROOT / "docs" / "providers.md").read_text("utf-8")
    assert [name for name in PROFILES if f"`{name}`" not in text] == []


@pytest.mark.parametrize("provider", list(Provider))
def test_a_provider_has_the_profile_of_its_name_unless_it_has_none(provider: Provider) -> None:
    assert profile_of(connection(provider)) is PROFILES.get(provider.value, GENERIC)


def test_a_connection_may_name_another_profile() -> None:
    assert profile_of(connection(Provider.OPENAI_COMPATIBLE, "azure")) is PROFILES["azure"]
    assert profile_of(connection(Provider.AZURE, "openai-compatible")) is GENERIC
    assert profile_of(connection(Provider.AZURE, "of a later version")) is GENERIC
    assert is_profile("azure")
    assert not is_profile("of a later version")


@pytest.mark.parametrize(
    ("config", "endpoint", "url"),
    [
        ({}, CHAT, f"https://a/openai/deployments/gpt/chat/completions?api-version={AZURE_API_VERSION}"),
        (
            {"apiVersion": "2025-01-01-preview", "deployment": "mine"},
            "/v1/embeddings",
            "https://a/openai/deployments/mine/embeddings?api-version=2025-01-01-preview",
        ),
        ({}, "/v1/responses", f"https://a/openai/responses?api-version={AZURE_API_VERSION}"),
        ({"baseUrl": "https://a/openai/v1/"}, CHAT, "https://a/openai/v1/chat/completions"),
        (
            {"baseUrl": "https://a/openai/v1", "apiVersion": "preview"},
            CHAT,
            "https://a/openai/v1/chat/completions?api-version=preview",
        ),
        (
            {"baseUrl": "https://a/openai/deployments/d"},
            CHAT,
            f"https://a/openai/deployments/d/chat/completions?api-version={AZURE_API_VERSION}",
        ),
    ],
)
def test_azure_has_paths_by_deployment(config: dict[str, Any], endpoint: Endpoint, url: str) -> None:
    address = address_of(Provider.AZURE, {"baseUrl": "https://a/"} | config)
    assert address.url_of(endpoint, "gpt") == url


def test_the_others_have_the_endpoint_below_the_base() -> None:
    gemini = address_of(Provider.GEMINI, {}).url_of(CHAT, "m")
    assert gemini == "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions"
    own = address_of(Provider.VLLM, {"baseUrl": "http://gpu:8000/v1/", "apiVersion": "x"})
    assert own.url_of("/v1/embeddings", "m") == "http://gpu:8000/v1/embeddings"
    with pytest.raises(Invalid, match=r"config\.baseUrl"):
        address_of(Provider.VLLM, {})


def test_each_provider_gets_the_key_in_its_header() -> None:
    assert headers_of(Provider.OPENAI, {}, "k")["Authorization"] == "Bearer k"
    assert headers_of(Provider.AZURE, {}, "k")["api-key"] == "k"
    anthropic = headers_of(Provider.ANTHROPIC, {"headers": {"anthropic-beta": "b"}}, "k")
    assert (anthropic["x-api-key"], anthropic["anthropic-version"], anthropic["anthropic-beta"]) == (
        "k",
        "2023-06-01",
        "b",
    )
    assert "Authorization" not in anthropic
    assert headers_of(Provider.ANTHROPIC, {"anthropicVersion": "2030-01-01"}, None)["anthropic-version"] == "2030-01-01"
