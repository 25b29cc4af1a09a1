"""Where the Batch API of a connection is, and what it calls endpoints and models."""

from __future__ import annotations

import pytest

from scheduler.domain.setup import Provider
from scheduler.providers.addresses import address_of

AZURE = "https://name.openai.azure.com"
DATED = f"{AZURE}/openai/files/f1/content?api-version=2024-10-21"


@pytest.mark.parametrize(
    ("provider", "base_url", "url", "endpoint"),
    [
        (Provider.OPENAI, None, "https://api.openai.com/v1/files/f1/content", "/v1/embeddings"),
        (Provider.GROQ, "https://x/openai/v1/", "https://x/openai/v1/files/f1/content", "/v1/embeddings"),
        (Provider.AZURE, AZURE, DATED, "/embeddings"),
        (Provider.AZURE, f"{AZURE}/openai/", DATED, "/embeddings"),
        (Provider.AZURE, f"{AZURE}/openai/deployments/d", DATED, "/embeddings"),
        (Provider.AZURE, f"{AZURE}/openai/v1", f"{AZURE}/openai/v1/files/f1/content", "/v1/embeddings"),
    ],
)
def test_files_and_batches_lie_beside_the_models(
    provider: Provider, base_url: str | None, url: str, endpoint: str
) -> None:
    address = address_of(provider, {"baseUrl": base_url} if base_url else {})
    assert address.batch_url_of("/files/f1/content") == url
    assert address.batch_endpoint_of("/v1/embeddings") == endpoint


def test_questions_go_behind_the_version() -> None:
    dated = address_of(Provider.AZURE, {"baseUrl": AZURE, "apiVersion": "2025-01-01", "deployment": "d"})
    assert dated.batch_url_of("/batches", limit="100", after="b1") == (
        f"{AZURE}/openai/batches?api-version=2025-01-01&limit=100&after=b1"
    )
    assert dated.model_of("m") == "d"
    plain = address_of(Provider.OPENAI, {})
    assert plain.batch_url_of("/batches", limit="100") == "https://api.openai.com/v1/batches?limit=100"
    assert plain.model_of("m") == "m"
