"""The body of a call: the item's request with our model and stream, every other value byte for byte as
given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from scheduler.domain.batch import Endpoint

_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()
_FALSE, _TRUE = msgspec.Raw(b"false"), msgspec.Raw(b"true")
_NEVER_STREAMED: frozenset[Endpoint] = frozenset({"/v1/embeddings", "/v1/moderations"})


def build_body(
    request: bytes, endpoint: Endpoint, model: str, default_args: Mapping[str, bytes], *, streamed: bool = False
) -> bytes:
    """The JSON to send. Order and unknown keys are kept; defaults fill only what is absent.

    Unless it is to be streamed, streaming is switched off, and `stream_options`, which providers refuse without it, is
    left out. Raises ValueError when the request is not a JSON object.
    """
    fields = _fields_of(request)
    for name, value in default_args.items():
        if name not in fields:
            fields[name] = msgspec.Raw(value)
    fields["model"] = msgspec.Raw(_ENCODER.encode(model))
    if streamed:
        fields["stream"] = _TRUE
        return _ENCODER.encode(fields)
    fields.pop("stream_options", None)
    if endpoint in _NEVER_STREAMED:
        fields.pop("stream", None)
    else:
        fields["stream"] = _FALSE
    return _ENCODER.encode(fields)


def encode_args(default_args: Mapping[str, Any]) -> dict[str, bytes]:
    """A resource's defaultArgs as `build_body` takes them."""
    return {name: _ENCODER.encode(value) for name, value in default_args.items()}


def _fields_of(request: bytes) -> dict[str, msgspec.Raw]:
    try:
        return _DECODER.decode(request)
    except msgspec.DecodeError:
        # msgspec refuses half surrogates ("\ud800"), which JSON allows: the standard library reads them.
        decoded = json.loads(request)
        if not isinstance(decoded, dict):
            raise
        return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in decoded.items()}
