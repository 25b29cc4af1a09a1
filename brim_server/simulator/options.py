"""What one simulated provider is like: its limits, its speed and its faults."""

from dataclasses import dataclass, fields
from typing import Literal

Shape = Literal["bucket", "sliding", "minute", "slices"]
RetryAfterHeaders = Literal["both", "seconds", "ms", "none"]
PromptCount = Literal["json", "text"]

_RATES = ("error_rate", "hang_rate", "reset_rate", "garbage_rate", "odd_rate")
_RANGES: dict[str, tuple[float, float]] = {
    "rpm": (1, 10**12),
    "tpm": (1, 10**12),
    "bucket_s": (0.001, 60),
    "slice_s": (0.001, 60),
    "default_output_tokens": (1, 10**9),
    "latency_ms": (0, 10**9),
    "latency_jitter_ms": (0, 10**9),
    "parallel": (1, 10**9),
    "others": (0, 0.99),
    "refuse_for_s": (0, 10**9),
    "refuse_status": (400, 599),
    "refuse_retry_after_ms": (0, 10**12),
    "batch_s": (0, 10**9),
    "max_body_bytes": (1, 10**10),
    **dict.fromkeys(_RATES, (0, 1)),
}


@dataclass(frozen=True, slots=True)
class Options:
    """Raises ValueError, naming the field, when a value makes no sense."""

    rpm: int | None = None
    """Requests per minute; None: unlimited."""
    tpm: int | None = None
    """Tokens per minute; None: unlimited."""
    shape: Shape = "bucket"
    bucket_s: float = 60.0
    """Shape `bucket`: the bucket holds this many seconds of the limit."""
    slice_s: float = 10.0
    """Shape `slices`: the limit is enforced per slice of this many seconds."""
    count_prompt: PromptCount = "json"
    """Prompt estimate of chat messages: characters/4 of their compact JSON, or of their text alone."""
    default_output_tokens: int = 16
    """Charged per choice when the request sets no maximum."""
    rate_headers: bool = True
    retry_after: RetryAfterHeaders = "both"
    """Which of `retry-after` (whole seconds) and `retry-after-ms` a 429 carries."""
    latency_ms: float = 50.0
    latency_jitter_ms: float = 0.0
    """Added to latency_ms, uniform from 0."""
    parallel: int | None = None
    """Calls served at once without getting slower; beyond, each takes longer in proportion. None: any number."""
    others: float = 0.0
    """Share of each limit that other callers of the same key use, at random moments; not among the figures."""
    error_rate: float = 0.0
    """Share of admitted calls answered 500."""
    hang_rate: float = 0.0
    """Share of admitted calls never answered."""
    reset_rate: float = 0.0
    """Share of admitted calls whose connection is reset instead of an answer."""
    garbage_rate: float = 0.0
    """Share of admitted calls answered 200 with a body that is not JSON."""
    odd_rate: float = 0.0
    """Share of admitted calls answered 200 with JSON whose text holds what stores choke on: NUL, lone surrogates."""
    refuse_for_s: float = 0.0
    """Refuse every call for so long, from the start or the last change of the settings; 0: never."""
    refuse_status: int = 429
    refuse_code: str = "rate_limit_exceeded"
    refuse_retry_after_ms: int | None = 1000
    """What a refusal tells the caller to wait; None: nothing."""
    api_key: str | None = None
    """When set, calls without `Authorization: Bearer <api_key>` are answered 401."""
    models: tuple[str, ...] = ("sim-model", "sim-small", "sim-embedding")
    """What `GET /v1/models` lists; calls may name any model."""
    batch_s: float = 5.0
    """How long a batch of the Batch API takes."""
    max_body_bytes: int = 16 * 1024 * 1024
    seed: int = 0
    """Of the draws for faults and jitter."""

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"{name} must be between {least} and {most}")
        if sum(getattr(self, name) for name in _RATES) > 1.000001:
            raise ValueError(f"{', '.join(_RATES)} must not add up to more than 1")


OPTION_NAMES = frozenset(field.name for field in fields(Options))
