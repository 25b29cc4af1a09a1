"""Where a connection's calls go, and the headers that they carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scheduler.domain.batch import Endpoint
from scheduler.domain.errors import Invalid
from scheduler.domain.setup import Provider

ANTHROPIC_VERSION = "2023-06-01"
AZURE_API_VERSION = "2024-10-21"
"""The newest version of Azure's dated API that is not a preview; its `/openai/v1` needs none."""

_DEPLOYMENTS = "/openai/deployments/"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a provider lives and how it wants the key. base_url None: the connection must name its own."""

    base_url: str | None
    key_header: str = "Authorization"
    key_prefix: str = "Bearer "


PLACES: Mapping[Provider, Place] = {
    Provider.OPENAI: Place("https://api.openai.com/v1"),
    Provider.AZURE: Place(None, key_header="api-key", key_prefix=""),
    Provider.ANTHROPIC: Place("https://api.anthropic.com/v1", key_header="x-api-key", key_prefix=""),
    Provider.GROQ: Place("https://api.groq.com/openai/v1"),
    Provider.GEMINI: Place("https://generativelanguage.googleapis.com/v1beta/openai"),
    Provider.VLLM: Place(None),
    Provider.OPENAI_COMPATIBLE: Place(None),
    Provider.NOOP: Place("noop:"),
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where the calls of one connection go.

    base_url: without a trailing slash, up to and with the version ("https://api.openai.com/v1"). azure: paths by
    deployment, named `deployment` or else like the model. query: begins with "?" or is empty.
    """

    base_url: str
    query: str = ""
    azure: bool = False
    deployment: str | None = None

    def url_of(self, endpoint: Endpoint, model: str) -> str:
        """The URL of one endpoint for one model."""
        path = endpoint.removeprefix("/v1")
        if not self._dated or _DEPLOYMENTS in self.base_url:
            return self.base_url + path + self.query
        if endpoint == "/v1/responses":
            return self._root + path + self.query
        return f"{self._root}/deployments/{self.model_of(model)}{path}{self.query}"

    def batch_url_of(self, path: str, **asked: str) -> str:
        """The URL of a path of the Batch API ("/files", "/batches/b1/cancel"), with query parameters."""
        query = "&".join([*([self.query[1:]] if self.query else []), *(f"{name}={asked[name]}" for name in asked)])
        return (self._root if self._dated else self.base_url) + path + (f"?{query}" if query else "")

    def batch_endpoint_of(self, endpoint: Endpoint) -> str:
        """How the Batch API calls an endpoint: Azure's dated one without a version."""
        return endpoint.removeprefix("/v1") if self._dated else endpoint

    def model_of(self, model: str) -> str:
        """What stands for a model there: with Azure a deployment."""
        return self.deployment or model

    @property
    def _dated(self) -> bool:
        """Azure's paths of before `/openai/v1`."""
        return self.azure and not self.base_url.endswith("/openai/v1")

    @property
    def _root(self) -> str:
        return self.base_url.partition(_DEPLOYMENTS)[0].removesuffix("/openai") + "/openai"


def address_of(provider: Provider, config: Mapping[str, Any]) -> Address:
    """The address of a connection. Raises Invalid when it names no base URL and must."""
    given = config.get("baseUrl") or PLACES[provider].base_url
    if not isinstance(given, str):
        raise Invalid(f"config.baseUrl is required for provider {provider.value}")
    base_url = given.rstrip("/")
    if provider is not Provider.AZURE:
        return Address(base_url)
    version = config.get("apiVersion")
    if not isinstance(version, str) or not version:
        version = None if base_url.endswith("/openai/v1") else AZURE_API_VERSION
    deployment = config.get("deployment")
    return Address(
        base_url,
        query=f"?api-version={version}" if version else "",
        azure=True,
        deployment=deployment if isinstance(deployment, str) and deployment else None,
    )


def headers_of(provider: Provider, config: Mapping[str, Any], api_key: str | None) -> dict[str, str]:
    """The headers that every call of a connection carries."""
    place = PLACES[provider]
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if provider is Provider.ANTHROPIC:
        version = config.get("anthropicVersion")
        headers["anthropic-version"] = version if isinstance(version, str) and version else ANTHROPIC_VERSION
    if isinstance(organization := config.get("organization"), str):
        headers["OpenAI-Organization"] = organization
    if isinstance(project := config.get("project"), str):
        headers["OpenAI-Project"] = project
    extra = config.get("headers")
    if isinstance(extra, dict):
        headers.update({str(name): str(value) for name, value in extra.items()})
    if api_key:
        headers[place.key_header] = place.key_prefix + api_key
    return headers
