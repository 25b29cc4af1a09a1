"""Numbers and states in words, the same in every view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..records import Batch, Headroom
from .tally import Tally


def seconds(value_s: float) -> str:
    """`8 s`, `3 min 20 s`, `2 h 05 min`, `4 d 03 h`."""
    whole = max(0, round(value_s))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours:02d} h"


def rate(per_s: float | None) -> str:
    """Items a second; a minute where they are few."""
    if per_s is None:
        return "–/s"
    if 0 < per_s < 0.95:
        return f"{per_s * 60:.1f}/min"
    return f"{per_s:,.1f}/s" if per_s < 100 else f"{per_s:,.0f}/s"


def state(tally: Tally) -> str:
    """The batch's status, PAUSED while it is held."""
    return "PAUSED" if tally.paused and not tally.is_final else tally.status


def percent(tally: Tally) -> str:
    """Ended of total, rounded down: 100 % is said at the end only."""
    share = 0 if tally.total == 0 else tally.finished * 1000 // tally.total
    return f"{share / 10:.1f}%"


def plain_line(tally: Tally, headroom: str | None) -> str:
    """The progress in one line without decoration."""
    parts = [
        f"{state(tally)} {tally.finished:,}/{tally.total:,} {percent(tally)}",
        *([] if tally.per_s is None else [rate(tally.per_s)]),
        f"running {tally.running:,}",
        f"failed {tally.failed:,}",
    ]
    if headroom is not None and not tally.is_final:
        parts.append(f"headroom {headroom}")
    if tally.left_s is not None:
        parts.append(f"{seconds(tally.left_s)} left")
    if tally.waits is not None:
        parts.append(tally.waits)
    return " · ".join(parts)


def summary(batch: Batch) -> str:
    """How a batch ended, or stands, in one line."""
    parts = [f"{batch.completed:,} of {batch.total_items:,} completed"]
    if batch.failed:
        parts.append(f"{batch.failed:,} failed")
    if batch.cancelled:
        parts.append(f"{batch.cancelled:,} cancelled")
    if batch.total_prompt_tokens or batch.total_output_tokens:
        parts.append(f"{batch.total_prompt_tokens:,} + {batch.total_output_tokens:,} tokens")
    text = f"{batch.status}: {', '.join(parts)}"
    if batch.created_at is not None and batch.completed_at is not None:
        took_s = (batch.completed_at - batch.created_at).total_seconds()
        text += f", in {seconds(took_s)}"
        if took_s >= 1:
            text += f" ({rate((batch.completed + batch.failed) / took_s)})"
    return text


def limits_text(batch: Batch) -> str | None:
    """The batch's own limits, as `600 requests and 60,000 tokens per minute`; None when it has none."""
    found = [_limit_text(each) for each in _limits(list(batch.capacity)) if each.get("enabled", True)]
    return ", ".join(text for text in found if text) or None


def _limit_text(limit: Mapping[str, Any]) -> str | None:
    amounts = [f"{limit[what]:,} {what}" for what in ("requests", "tokens") if isinstance(limit.get(what), int)]
    if not amounts:
        return None
    period = str(limit.get("period")).lower()
    return f"{' and '.join(amounts)} {'in all' if period == 'lifetime' else f'per {period}'}"


def headroom_text(headroom: Headroom) -> str | None:
    """The tightest requests and tokens that are left, as `480 requests, 40k tokens`; None when unlimited."""
    left: dict[str, int] = {}
    for limit in _limits(headroom.raw):
        for what in ("requests", "tokens"):
            free = _free(limit, what)
            if free is not None:
                left[what] = min(free, left.get(what, free))
    parts = [f"{_short(count)} {what}" for what, count in left.items()]
    return ", ".join(parts) or None


def _limits(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every object with a period, wherever it lies: a resource's answer holds its connections' too."""
    if isinstance(value, Mapping):
        if "period" in value:
            yield value
        else:
            for inner in value.values():
                yield from _limits(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _limits(inner)


def _free(limit: Mapping[str, Any], what: str) -> int | None:
    amount = limit.get(what)
    free = amount.get("headroom") if isinstance(amount, Mapping) else None
    return max(0, int(free)) if isinstance(free, int | float) else None


def _short(count: int) -> str:
    if count < 10_000:
        return f"{count:,}"
    return f"{count / 1000:,.0f}k" if count < 10_000_000 else f"{count / 1_000_000:,.0f}M"
