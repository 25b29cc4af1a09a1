"""Budgets under a virtual clock: the real scripts, hours of a limit in seconds, every limiter shape at the door."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from bench.filling import edges, fairness, page, parts, sharing, targets
from bench.filling.cases import LIMITS, Case, Row, run
from bench.filling.fairness import Finding
from bench.filling.laboratory import Laboratory, laboratory
from scheduler.providers.profiles.azure import AZURE
from scheduler.providers.profiles.generic import GENERIC

DOCS = Path(__file__).parent.parent / "docs"
WORKERS = (1, 2, 4)
QUEUES = (1, 2, 20)
MINUTES = 6
SLICED_MINUTES = 12
SCENARIOS: tuple[Callable[[Laboratory], Awaitable[list[Finding]]], ...] = (
    fairness.one_large_many_small,
    fairness.priorities,
    fairness.large_and_small_items,
    edges.crowded_connection,
    edges.crowded_key,
    edges.changed_limit,
    edges.one_huge_item,
    targets.two_targets,
    sharing.shared_key,
    parts.pools,
)


def filling_cases(minutes: int, *, quick: bool) -> list[Case]:
    """The table: each limit with each number of workers and queues."""
    if quick:
        return [replace(case, minutes=min(minutes, 3)) for case in LIMITS]
    return [
        replace(case, workers=workers, queues=queues, minutes=minutes)
        for case in LIMITS
        for workers in WORKERS
        for queues in QUEUES
    ]


def sliced_cases(*, quick: bool) -> list[Case]:
    """A provider that cuts the minute into slices and answers 429: the generic profile and Azure's."""
    return [
        replace(case, profile=profile, minutes=3 if quick else SLICED_MINUTES, answers="slices 10 s")
        for case in LIMITS
        for profile in (GENERIC, AZURE)
        if case.requests != 6_000 or not quick
    ]


async def measure(cases: list[Case], lab: Laboratory) -> list[Row]:
    """Run cases in turn, a line each."""
    rows = []
    for case in cases:
        started_s = time.perf_counter()
        row = await run(lab, case)
        rows.append(row)
        print(f"{page.line(row)}   ({time.perf_counter() - started_s:.1f} s)", flush=True)
    return rows


async def budgets(*, minutes: int = MINUTES, quick: bool = False, write: bool = False) -> int:
    """Run everything and print it; with `write` also into docs/. Answers how many promises did not hold."""
    async with laboratory() as lab:
        print(page.HEAD)
        filled = await measure(filling_cases(minutes, quick=quick), lab)
        sliced = await measure(sliced_cases(quick=quick), lab)
        findings: list[Finding] = []
        for scenario in SCENARIOS:
            for finding in await scenario(lab):
                findings.append(finding)
                print(page.finding_line(finding), flush=True)
    if write:
        page.write(DOCS, filled, sliced, findings)
    return sum(finding.met is False for finding in findings)


async def long(admissions: int, requests: int) -> Row:
    """One run of a request limit over so many admissions."""
    case = Case(f"{requests:,} RPM", requests=requests, minutes=-(-admissions // requests) + 1)
    async with laboratory() as lab:
        return (await measure([case], lab))[0]
