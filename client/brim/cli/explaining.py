"""Explanations and connections for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..explanations import Connection, Explanation
from .output import console, moment, plain, say, table
from .wording import seconds


def print_explanation(found: Explanation) -> None:
    """Why it waits: the words first, then the figures, then what each resource of a batch waits on."""
    console().print(plain(found.message))
    now = datetime.now(UTC)
    for name, past, at in (("starts", "started", found.earliest_start), ("ends", "ended", found.expected_end)):
        if at is not None:
            left_s = (at - now).total_seconds()
            print(f"{past if left_s < 0 else name}: {moment(at)} ({_from_now(left_s)})")
    resources = [each for each in found.raw.get("resources") or () if isinstance(each, Mapping)]
    if resources:
        waiting, running = (sum(int(each.get(name) or 0) for each in resources) for name in ("waiting", "running"))
        if waiting or running:
            print(f"items: {waiting:,} waiting, {running:,} running")
    if found.requests_ahead:
        print(f"ahead: {found.requests_ahead:,} requests")
    limits = [each for each in found.raw.get("limits") or () if isinstance(each, Mapping)]
    if limits:
        _print_limits(limits)
    if len(resources) > 1:
        _print_resources(resources)


def _from_now(left_s: float) -> str:
    if left_s < 0:
        return f"{seconds(-left_s)} ago"
    return f"in {seconds(left_s)}" if left_s >= 1 else "now"


def print_connections(found: Sequence[Connection]) -> None:
    """A table of connections."""
    rows = table("connection", "provider", "state", "since (UTC)", "tried again (UTC)", "reason")
    for each in found:
        if not each.parked:
            rows.add_row(plain(each.name), each.provider, "open", "", "", "")
        for parking in each.parked:
            model = parking.get("model")
            rows.add_row(
                plain(each.name),
                each.provider,
                f"parked ({plain(str(model))})" if model else "parked",
                str(parking.get("since", ""))[:16],
                str(parking.get("until", ""))[:16],
                plain(str(parking.get("reason", ""))),
            )
    console().print(rows if found else "no connections")
    if any(each.parked for each in found):
        say("once that is put right, tried at once: brim connections --resume NAME")


def _print_limits(limits: Sequence[Mapping[str, Any]]) -> None:
    rows = table("limit of", "name", "what", "period", "used", "admits at (UTC)")
    for each in limits:
        used = "" if each.get("limit") is None else f"{each.get('used')}/{each['limit']}"
        rows.add_row(
            str(each.get("scope", "")),
            plain(str(each.get("name") or "")),
            str(each.get("dimension", "")),
            str(each.get("period") or ""),
            used,
            str(each.get("admitsAt") or "")[:19],
        )
    console().print(rows)


def _print_resources(resources: Sequence[Mapping[str, Any]]) -> None:
    rows = table("resource", "waiting", "running", "binds", "ends (UTC)")
    for each in resources:
        limit = each.get("bindingLimit") or {}
        binds = " ".join(str(limit.get(name) or "") for name in ("scope", "name", "period", "dimension"))
        rows.add_row(
            plain(str(each.get("resource") or each.get("resourceId", ""))),
            str(each.get("waiting", "")),
            str(each.get("running", "")),
            plain(" ".join(binds.split())),
            str(each.get("expectedEnd") or "")[:19],
        )
    console().print(rows)
