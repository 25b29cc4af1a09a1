"""Priorities and the fair-queueing weights they stand for."""

from __future__ import annotations

from enum import StrEnum


class Priority(StrEnum):
    """Named priorities of batches and resources."""

    TRIVIAL = "trivial"
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"


_WEIGHTS = {
    Priority.TRIVIAL: 1.0,
    Priority.LOW: 2.0,
    Priority.NORMAL: 4.0,
    Priority.HIGH: 8.0,
    Priority.CRITICAL: 16.0,
}


def weight_of(priority: Priority) -> float:
    """The share of service relative to others: critical gets 16 tokens where trivial gets 1."""
    return _WEIGHTS[priority]


MOST_FINE_PRIORITY = 255


def fine_weight_of(fine_priority: int) -> float:
    """The same for a priority of 0 to 255: 0 is normal, 128 high, and 255 all but critical."""
    weight: float = 4.0 * 2.0 ** (fine_priority / 128)
    return weight
