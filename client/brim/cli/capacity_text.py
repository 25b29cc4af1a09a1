"""Capacities as a person types them: `600rpm/60000tpm`, or JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..submission import Capacity, CapacityInput, Period

_PERIODS: Mapping[str, Period] = {
    "s": "SECOND",
    "m": "MINUTE",
    "h": "HOUR",
    "d": "DAY",
    "w": "WEEK",
}
_PART = re.compile(r"(?P<amount>\d[\d_]*)(?P<scale>[kKM]?)(?P<what>[rt])p(?P<period>[smhdw])")
_SCALES: Mapping[str, int] = {"": 1, "k": 1_000, "K": 1_000, "M": 1_000_000}
_EXAMPLE = "write it like 600rpm/60ktpm, or as JSON"


def parse_capacity(text: str) -> Sequence[CapacityInput]:
    """Capacities from `text`; requests and tokens of one period become one capacity.

    A part is a number (`600`, `60k`, `2M`), `r` or `t` for requests or tokens, and `ps`, `pm`, `ph`, `pd` or
    `pw` for the period; parts are separated by `/` or `,`. JSON is one capacity object or a list of them.
    Raises ValueError that says what is wrong.
    """
    stripped = text.strip()
    if stripped.startswith(("[", "{")):
        return _from_json(stripped)
    amounts: dict[Period, dict[str, int]] = {}
    for part in re.split(r"[/,]", stripped):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{part.strip()!r} is no capacity: {_EXAMPLE}")
        amount = int(match["amount"].replace("_", "")) * _SCALES[match["scale"]]
        if amount < 1:
            raise ValueError(f"{part.strip()!r}: a capacity is at least 1")
        of_period = amounts.setdefault(_PERIODS[match["period"]], {})
        what = "requests" if match["what"] == "r" else "tokens"
        if what in of_period:
            raise ValueError(f"{part.strip()!r}: {what} of that period are given twice")
        of_period[what] = amount
    return [
        Capacity(period, requests=of_period.get("requests"), tokens=of_period.get("tokens"))
        for period, of_period in amounts.items()
    ]


def _from_json(text: str) -> Sequence[Mapping[str, Any]]:
    try:
        value = json.loads(text)
    except ValueError as fault:
        raise ValueError(f"the capacity is no valid JSON ({fault}): {_EXAMPLE}") from None
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(each, dict) for each in found):
        raise ValueError(f"the JSON of a capacity is an object or a list of objects: {_EXAMPLE}")
    return found
