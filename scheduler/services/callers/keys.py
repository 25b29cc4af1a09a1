"""Keys of callers: made, hashed, masked, and turned into who is calling."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from pydantic import SecretStr

from scheduler.domain.errors import NotAuthorized, Unauthenticated
from scheduler.domain.setup import ApiKey, Resource
from scheduler.ports.setup import SetupStore

PREFIX = "brim_"
_SECRET_BYTES = 32
CACHE_S = 1.5
"""For how long a process believes what it read about a key: a disabled key is refused within 2 s
everywhere."""
_CACHE_ENTRIES = 10_000


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A new key: `text` is shown once, `key_hash` is stored."""

    text: str
    key_hash: bytes
    masked: str


def make_key() -> MadeKey:
    """A random key of 256 bits."""
    return key_from(PREFIX + secrets.token_urlsafe(_SECRET_BYTES))


def key_from(text: str) -> MadeKey:
    """A key whose text an administrator chose."""
    return MadeKey(text, hash_key(text), mask(text))


def hash_key(text: str) -> bytes:
    """SHA-256 of the text. Plain, because keys are random: there is nothing to guess."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def mask(text: str) -> str:
    """For display, e.g. "brim_ab…yz"; gives away four characters of a key of 48."""
    head = PREFIX if text.startswith(PREFIX) else ""
    rest = text[len(head) :]
    return f"{head}{rest[:2]}…{rest[-2:]}" if len(rest) >= 16 else f"{head}…"


@dataclass(frozen=True, slots=True)
class Admin:
    """The holder of BRIM_ADMIN_KEY: may do everything everywhere."""


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """The holder of an enabled API key: may do what its scopes say, in its own environment."""

    key: ApiKey


Principal = Admin | KeyHolder
"""Who is calling; closed."""


def key_behind(principal: Principal) -> ApiKey | None:
    """The API key of the caller; None: the admin, who has none."""
    return None if isinstance(principal, Admin) else principal.key


def has_scope(principal: Principal, scope: str) -> bool:
    """Whether the caller has the scope; the admin has all."""
    return isinstance(principal, Admin) or scope in principal.key.scopes


def require_scope(principal: Principal, *scopes: str) -> None:
    """Raise NotAuthorized unless the caller has one of the scopes."""
    if not any(has_scope(principal, scope) for scope in scopes):
        raise NotAuthorized(f"The API key lacks the scope {' or '.join(scopes)}; the admin key has all.")


def require_resource(principal: Principal, resource: Resource) -> None:
    """Raise NotAuthorized API_KEY_RESOURCE_NOT_AUTHORIZED unless the caller may use the resource."""
    if isinstance(principal, Admin) or principal.key.resources is None:
        return
    if resource.resource_id not in principal.key.resources:
        raise NotAuthorized(
            f"The API key may not use {resource.name}.",
            code="API_KEY_RESOURCE_NOT_AUTHORIZED",
            details={"resources": [resource.name]},
        )


def require_tenant(principal: Principal, workspace_id: UUID, environment_id: UUID | None) -> None:
    """Raise NotAuthorized unless the caller belongs there. environment_id None: the workspace alone is
    asked."""
    if isinstance(principal, Admin):
        return
    key = principal.key
    if key.workspace_id != workspace_id or (environment_id is not None and key.environment_id != environment_id):
        raise NotAuthorized("The API key belongs to another workspace or environment.")


def require_admin(principal: Principal) -> None:
    """Raise NotAuthorized unless the caller holds the admin key."""
    if not isinstance(principal, Admin):
        raise NotAuthorized("This needs the admin key.")


class Authenticator:
    """Turns the text of a key into who is calling, with a short memory so that a busy caller costs no
    query."""

    def __init__(
        self, setup: SetupStore, admin_key: SecretStr | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._setup = setup
        self._admin_hash = hash_key(admin_key.get_secret_value()) if admin_key else None
        self._clock = clock
        self._known: dict[bytes, tuple[float, ApiKey | None]] = {}

    async def authenticate(self, text: str | None) -> Principal:
        """Who holds this key. Raises Unauthenticated for no key, an unknown one and a disabled one."""
        if not text:
            raise Unauthenticated("An API key is needed: Authorization: Bearer <key>, or x-api-key: <key>.")
        key_hash = hash_key(text)
        if self._admin_hash is not None and hmac.compare_digest(key_hash, self._admin_hash):
            return Admin()
        key = await self._lookup(key_hash)
        if key is None or not key.enabled:
            raise Unauthenticated("The API key is unknown or disabled.")
        return KeyHolder(key)

    async def _lookup(self, key_hash: bytes) -> ApiKey | None:
        now_s = self._clock()
        remembered = self._known.get(key_hash)
        if remembered is not None and remembered[0] > now_s:
            return remembered[1]
        key = await self._setup.api_key_by_hash(key_hash)
        if len(self._known) >= _CACHE_ENTRIES:  # a flood of made-up keys must not grow it
            self._known.clear()
        self._known[key_hash] = (now_s + CACHE_S, key)
        return key

    def forget(self) -> None:
        """Drop the memory, after keys changed in this process."""
        self._known.clear()
