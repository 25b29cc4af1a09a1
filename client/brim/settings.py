"""Where Brim is and who we are: arguments first, the environment second."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .errors import ConfigurationError, MissingSettings

_VARIABLES: Mapping[str, str] = {
    "base_url": "BRIM_URL",
    "api_key": "BRIM_API_KEY",
    "workspace": "BRIM_WORKSPACE",
    "environment": "BRIM_ENVIRONMENT",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """One tenant's address and key. `base_url` is the server's root, without `/v1` or a final slash."""

    base_url: str
    api_key: str = field(repr=False)
    workspace: str
    environment: str


def settings(
    base_url: str | None = None,
    api_key: str | None = None,
    workspace: str | None = None,
    environment: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Fill what is None from BRIM_URL, BRIM_API_KEY, BRIM_WORKSPACE and BRIM_ENVIRONMENT.

    Raises ConfigurationError that names everything missing at once, or says why the URL cannot be used.
    """
    given = {"base_url": base_url, "api_key": api_key, "workspace": workspace, "environment": environment}
    found = _found(given, os.environ if environ is None else environ)
    return Settings(
        base_url=_root(found["base_url"]),
        api_key=_header_safe(found["api_key"]),
        workspace=found["workspace"],
        environment=found["environment"],
    )


def address(
    base_url: str | None = None, api_key: str | None = None, *, environ: Mapping[str, str] | None = None
) -> tuple[str, str]:
    """The server's root and the key alone, for what takes its tenant from the key. Raises like `settings`."""
    found = _found({"base_url": base_url, "api_key": api_key}, os.environ if environ is None else environ)
    return _root(found["base_url"]), _header_safe(found["api_key"])


def _found(given: Mapping[str, str | None], variables: Mapping[str, str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, value in given.items():
        chosen = value if value is not None else variables.get(_VARIABLES[name])
        if chosen is not None and chosen.strip():
            found[name] = chosen.strip()
    missing = [f"{name} (or {_VARIABLES[name]})" for name in given if name not in found]
    if missing:
        raise MissingSettings("missing " + ", ".join(missing))
    return found


def _root(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigurationError(f"base_url must start with http:// or https://, got {url!r}")
    return url.rstrip("/").removesuffix("/v1")


def _header_safe(api_key: str) -> str:
    # The key itself stays out of the message: errors end up in logs.
    if not (api_key.isascii() and api_key.isprintable()):
        raise ConfigurationError("api_key (or BRIM_API_KEY) holds characters that cannot be sent in a header")
    return api_key
