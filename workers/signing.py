"""What a callback carries so that its receiver can trust and recognise it: pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

_NEVER_FROM_USERS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "content-type", "content-encoding"}
)
_STANDARD_PREFIX = "whsec_"


def delivery_headers(
    delivery_id: str, body: bytes, user_headers: Mapping[str, str], secrets: Sequence[str], now_s: int
) -> dict[str, str]:
    """The headers of one callback: the user's, then ours, which win.

    The id is the same at every try of a delivery, so receivers can drop repeats. With a secret there are
    X-Signature-256 (hex HMAC-SHA256 of the body under the secret's UTF-8 bytes), the same as
    X-Webhook-Signature, and the signature of Standard Webhooks (`id.timestamp.body`, base64), whose id and timestamp
    are there without one too. secrets: the newest first; while two live, `webhook-signature` names a signature of
    each, the others know only the newest.
    now_s: Unix time of this try.
    """
    ours = {"Content-Type": "application/json", "User-Agent": "brim", "X-Webhook-Id": delivery_id}
    ours |= {"webhook-id": delivery_id, "webhook-timestamp": str(now_s)}
    if secrets:
        ours |= _signatures(delivery_id, body, secrets, now_s)
    taken = {name.lower() for name in ours} | _NEVER_FROM_USERS
    return {name: value for name, value in user_headers.items() if name.lower() not in taken} | ours


def _signatures(delivery_id: str, body: bytes, secrets: Sequence[str], now_s: int) -> dict[str, str]:
    plain = "sha256=" + hmac.new(secrets[0].encode(), body, hashlib.sha256).hexdigest()
    signed = f"{delivery_id}.{now_s}.".encode() + body
    standard = [hmac.new(_standard_key(secret), signed, hashlib.sha256).digest() for secret in secrets]
    return {
        "X-Signature-256": plain,
        "X-Webhook-Signature": plain,
        "webhook-signature": " ".join("v1," + base64.b64encode(each).decode() for each in standard),
    }


def _standard_key(secret: str) -> bytes:
    """The decoded key of a whsec_ secret, the UTF-8 bytes of any other (also of one that does not decode)."""
    if secret.startswith(_STANDARD_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_STANDARD_PREFIX))
        except (binascii.Error, ValueError):
            return secret.encode()
    return secret.encode()
