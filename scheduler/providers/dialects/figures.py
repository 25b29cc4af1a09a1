"""Numbers and durations as providers write them."""

from __future__ import annotations

import re

_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATION = re.compile(f"^(?:{_PART.pattern})+$")


def duration_ms(text: str) -> int | None:
    """ "6m0s", "17ms", "1.5s" or plain seconds ("0.8") in ms, rounded up; None for anything else."""
    text = text.strip()
    if _DURATION.match(text):
        return whole_ms(sum(float(number) * _UNIT_MS[unit] for number, unit in _PART.findall(text)))
    return number_ms(text, 1_000)


def number_ms(value: str | None, factor: int) -> int | None:
    """A plain number times `factor`; None when it is none, negative, or not finite."""
    try:
        number = float(value or "") * factor
    except ValueError:
        return None
    return whole_ms(number)


def whole_ms(number: float) -> int | None:
    """The whole number at or above; None when it is negative or not finite."""
    return ceil(number) if 0 <= number < float("inf") else None


def figure(value: str | None) -> int | None:
    """A whole number ≥ 0, also written "1000.0"; None for anything else (Azure says -1 for "not known")."""
    try:
        number = float(value or "")
    except ValueError:
        return None
    return int(number) if 0 <= number < 1e15 else None


def ceil(number: float) -> int:
    """The whole number at or above."""
    return -int(-number // 1)
