"""Secrets at rest: provider keys are sealed with AES-256-GCM under a key derived from BRIM_SECRET_KEY."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from scheduler.domain.errors import InvariantBroken, Unavailable

MASK = "********"
"""What callers see in place of a secret; given back in a PUT it means: keep the old one."""
_VERSION = b"\x01"
_NONCE_BYTES = 12


class Vault:
    """Seals and opens short texts. Without a key it refuses both, so that a server can run without
    secrets."""

    __slots__ = ("_cipher",)

    def __init__(self, secret_key: str | None) -> None:
        self._cipher: AESGCM | None = None
        if secret_key is not None:
            derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"brim provider secrets v1")
            self._cipher = AESGCM(derived.derive(secret_key.encode()))

    def seal(self, text: str) -> bytes:
        """The sealed form of `text`: version byte, nonce, ciphertext with tag; different at every call.

        Raises Unavailable when no BRIM_SECRET_KEY is configured.
        """
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._ready().encrypt(nonce, text.encode(), _VERSION)

    def open(self, sealed: bytes) -> str:
        """What was sealed. Raises InvariantBroken when it was sealed under another key or damaged."""
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        if sealed[:1] != _VERSION or len(nonce) != _NONCE_BYTES:
            raise InvariantBroken("a sealed secret has an unknown form")
        try:
            return self._ready().decrypt(nonce, ciphertext, _VERSION).decode()
        except InvalidTag:
            raise InvariantBroken("a secret does not open: BRIM_SECRET_KEY is not the one it was sealed with") from None

    def _ready(self) -> AESGCM:
        if self._cipher is None:
            raise Unavailable("Secrets cannot be handled: the server has no BRIM_SECRET_KEY.", retry_after_s=60)
        return self._cipher
