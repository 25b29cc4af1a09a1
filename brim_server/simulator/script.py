"""What a request asks the simulator to do to it."""

from collections import OrderedDict
from typing import Any

import msgspec

_KEPT = 100_000

# msgspec structs here and in the files beside it: they validate while decoding and are cheap on the hot path.


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The field `brim_sim`.

    Without `fail_times` the fault strikes every arrival of that body; with it only the first so many that the
    limiter let in, then the same body is answered as usual.
    """

    status: int | None = None
    """Answer with this error status (400 to 599). A scripted 429 is a refusal: the limiter is not charged."""
    code: str | None = None
    message: str | None = None
    retry_after_ms: int | None = None
    """Sent with the error."""
    hang: bool = False
    """Never answer."""
    reset: bool = False
    """Reset the connection instead of answering."""
    garbage: bool = False
    """Answer 200 with a body that is not JSON."""
    fail_times: int | None = None
    latency_ms: float | None = None
    """Instead of the provider's own latency, for success and failure alike."""
    completion_tokens: int | None = None
    """How long the answer is, at most the request's maximum."""

    def __post_init__(self) -> None:
        if self.status is not None and not 400 <= self.status <= 599:
            raise ValueError("brim_sim.status must be between 400 and 599")
        if self.latency_ms is not None and not 0 <= self.latency_ms <= 1e9:
            raise ValueError("brim_sim.latency_ms must be between 0 and 1e9")
        if self.retry_after_ms is not None and self.retry_after_ms < 0:
            raise ValueError("brim_sim.retry_after_ms must not be negative")

    @property
    def has_fault(self) -> bool:
        """It ends in something other than a good answer."""
        return self.status is not None or self.hang or self.reset or self.garbage


_decode = msgspec.json.Decoder(Script).decode


def script_of(field: Script | None, metadata: dict[str, Any] | None, header: bytes | None) -> Script | None:
    """The script of a request: from its body, its metadata or the header, first found.

    Raises msgspec.ValidationError or msgspec.DecodeError when it is malformed.
    """
    if field is not None:
        return field
    if metadata is not None and isinstance(text := metadata.get("brim_sim"), str):
        return _decode(text)
    return _decode(header) if header else None


class Strikes:
    """How often each body was struck already; the newest 100,000 are remembered."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: OrderedDict[bytes, int] = OrderedDict()

    def is_due(self, script: Script, digest: bytes) -> bool:
        """Whether the script's fault still strikes this body. Counts nothing."""
        if not script.has_fault:
            return False
        return script.fail_times is None or self._counts.get(digest, 0) < script.fail_times

    def struck(self, script: Script, digest: bytes) -> None:
        """The fault was dealt."""
        if script.fail_times is not None:
            self._counts[digest] = self._counts.pop(digest, 0) + 1
            if len(self._counts) > _KEPT:
                self._counts.popitem(last=False)
