"""Run the benches and print what they measured: `python -m bench [name …]`.

`noop`, `http` and `idle` without names. Longer ones: `limits` takes twelve minutes, `shapes` five and then twelve,
`refusals` one, `changes` two, `budgets` about ten (`--quick`: two), `failover` three, `others` six, `spilling` five,
`files` one, `backlog` half a minute for 200,000 items (`--items 2000000`: seven), `lag` half a minute.
BRIM_BENCH_CLUSTER=1 runs all but `budgets` on a Redis Cluster of three masters.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from bench import (
    backlog,
    changes,
    failover,
    files,
    lag,
    latency,
    limits,
    others,
    refusals,
    shapes,
    spilling,
    throughput,
)
from bench.budgets import MINUTES, budgets, long

BENCHES = ("noop", "http", "idle")
LONG = (
    "limits",
    "shapes",
    "refusals",
    "changes",
    "budgets",
    "failover",
    "backlog",
    "others",
    "spilling",
    "files",
    "lag",
)


def show(name: str, value: str) -> None:
    """One line of the report."""
    print(f"{name:<58} {value:>14}", flush=True)


def show_throughput(kind: str, result: throughput.Throughput) -> None:
    """The lines that noop and http share."""
    show(f"{kind}: items a second, one worker process", f"{result.items_per_s:,.0f}")
    show(f"{kind}: seconds to accept {result.items:,} items in one POST", f"{result.post_s:.2f}")
    show(f"{kind}: client commands to Redis per item", f"{result.commands_per_item:.3f}")
    show(f"{kind}: Postgres transactions per item", f"{result.transactions_per_item:.4f}")


async def run(names: list[str]) -> None:
    """Run the named benches in order."""
    if "noop" in names:
        show_throughput("noop", await throughput.noop())
    if "http" in names:
        result, bare = await throughput.http()
        show_throughput("http", result)
        show("http: requests a second of a bare aiohttp loop", f"{bare:,.0f}")
        show("http: share of the bare loop", f"{result.items_per_s / bare:.2f}")
    if "idle" in names:
        measured = await latency.idle()
        show("idle: client commands to Redis a second", f"{measured.commands_per_s:.1f}")
        show("idle: POST to arrival at the provider, median ms", f"{measured.post_to_provider_ms:.1f}")
        show("idle: of which the POST itself, median ms", f"{measured.post_ms:.1f}")
        show("idle: POST to arrival at the provider, worst ms", f"{measured.worst_ms:.1f}")


async def run_limits(shape: str) -> None:
    """A request limit and a token limit in real time."""
    for result in (
        await limits.fill("requests", words=5, max_tokens=16, shape=shape),
        await limits.fill("tokens", words=200, max_tokens=100, shape=shape),
    ):
        kind = f"limits, {shape}, {result.bound_by} bind"
        show(f"{kind}: share used from the second minute on", f"{result.share_used:.1%}")
        show(f"{kind}: worst sliding minute, requests of {limits.RPM}", str(result.worst_requests))
        show(f"{kind}: worst sliding minute, tokens of {limits.TPM:,}", f"{result.worst_tokens:,}")
        show(f"{kind}: 429s", str(result.refused))
        show(f"{kind}: items completed", str(result.completed))


async def run_shapes() -> None:
    """Every shape of limit in real time: first those of a minute, then those that are cut into slices."""
    for chosen, minutes in ((shapes.MINUTES, 5), (shapes.SLICED, 12)):
        for filled in await shapes.shapes(chosen, minutes):
            print(shapes.line(filled), flush=True)


async def run_refusals() -> None:
    """A provider that refuses everything for a while."""
    result = await refusals.refusals()
    show(f"refusals: calls refused in {refusals.REFUSE_S:.0f} s", str(result.refused))
    show("refusals: calls sent between the first 429 and the first success", str(result.sent_between))
    show("refusals: seconds from that success to full speed", f"{result.back_s:.1f}")
    show(f"refusals: items completed of {refusals.ITEMS:,}, failed", f"{result.completed:,}, {result.failed}")
    show("refusals: attempts spent", str(result.retries))


async def run_changes() -> None:
    """A limit cut to a third and raised again."""
    for change in await changes.changes():
        kind = f"changes: limit now {change.rpm:,} RPM"
        show(f"{kind}: ms until Brim said so", f"{change.told_ms:.0f}")
        show(f"{kind}: 429s, of them later than a second", f"{change.refused}, {change.late}")
        show(f"{kind}: seconds to full use", "later" if change.full_s is None else f"{change.full_s:.1f}")


async def run_others() -> None:
    """A key that others use too, and a server without limits."""
    for each in await others.shared(4):
        kind = f"others use {others.SHARE:.0%} of {others.RPM} RPM, {each.shape}"
        show(f"{kind}: 429s of our {each.calls:,} calls", f"{each.refused} ({each.refused / each.calls:.2%})")
        show(f"{kind}: used together", f"{each.used:.1%}")
    found = await others.served()
    kind = f"a server of {others.PARALLEL} at once"
    show(f"{kind}: of what it can serve at best", f"{found.share:.1%}")
    show(f"{kind}: most calls at once, slow start included", str(found.most_at_once))


async def run_spilling() -> None:
    """Two providers behind one resource."""
    result = await spilling.spill()
    show(f"spilling: of 2 × {spilling.RPM} RPM used from the second minute on", f"{result.share_used:.1%}")
    show("spilling: worst sliding minute of each", ", ".join(map(str, result.worst_minutes)))
    show("spilling: 429s", str(result.refused))
    show(f"spilling: items completed of {spilling.ITEMS:,}, by each", f"{result.completed:,}: {result.served}")
    kind = f"spilling: the first ends after {spilling.DOWN_AFTER} items: completed of {spilling.DOWN_ITEMS}, by each"
    show(kind, f"{result.down_completed}: {result.down_served}")


async def run_failover() -> None:
    """A cluster's master killed twice."""
    result = await failover.fail_over()
    gaps = ", ".join(f"{gap_s:.1f}" for gap_s in result.gaps_s)
    show("failover: seconds from each kill to the next call", gaps)
    show(f"failover: worst sliding minute, requests of {failover.RPM}", str(result.worst_minute))
    show("failover: 429s", str(result.refused))
    show(f"failover: items completed of {failover.ITEMS:,}", str(result.completed))
    show("failover: calls repeated", str(result.repeated))


async def run_lag() -> None:
    """What others wait while one POST of 100,000 items is taken in."""
    result = await lag.lag()
    show("lag: MB of the POST, seconds it took", f"{result.body_mb:.0f}, {result.post_s:.1f}")
    show("lag: ms of a GET meanwhile, median", f"{result.get_median_ms:.1f}")
    show("lag: the same, of 99 in 100", f"{result.get_p99_ms:.1f}")
    show("lag: the same, the longest", f"{result.get_worst_ms:.1f}")


async def run_backlog(items: int) -> None:
    """One batch by NDJSON, far longer than what Redis holds of it."""
    result = await backlog.backlog(items)
    show("backlog: items, bytes a line", f"{result.items:,}, {result.line_bytes:.0f}")
    show("backlog: items a second accepted", f"{result.accepted_per_s:,.0f}")
    show("backlog: MB of the API process before, at most", f"{result.rss_before_mb:.0f}, {result.rss_mb:.0f}")
    show("backlog: MB that Redis grew by, at most", f"{result.redis_growth_mb:.1f}")
    show(
        f"backlog: median ms of a claim of {backlog.SLOTS}, {backlog.SMALL} items waiting", f"{result.claim_few_ms:.2f}"
    )
    show(f"backlog: the same with {result.items:,} waiting", f"{result.claim_all_ms:.2f}")
    show("backlog: items a second, one worker process", f"{result.drained_per_s:,.0f}")
    show("backlog: the first item's event, read at the end, has number", str(result.first_event))


async def run_files() -> None:
    """Batches that come as files: large ones accepted and cancelled, one run to its end."""
    for characters in (300, 3_000):
        accepted = await files.accept(characters)
        kind = f"files: {files.LINES:,} lines of {accepted.megabytes:.0f} MB"
        show(f"{kind}: seconds to upload", f"{accepted.uploaded_s:.2f}")
        show(f"{kind}: seconds from create to in_progress", f"{accepted.accepted_s:.2f}")
        show(f"{kind}: MB of the worker meanwhile, at most", f"{accepted.worker_mb:.0f}")
        show(f"{kind}: seconds from cancel to cancelled", f"{accepted.cancelled_s:.2f}")
        show(f"{kind}: lines of its results", f"{accepted.result_lines:,}")
    result = await files.run()
    kind = f"files: {files.RUN_LINES:,} lines through a provider"
    show(f"{kind}: seconds from create to completed", f"{result.completed_s:.2f}")
    show(f"{kind}: counts", ", ".join(f"{name} {count:,}" for name, count in result.counts.items()))
    show(f"{kind}: each custom id once, usage exact", f"{result.once}, {result.usage_is_exact}")


WITHOUT_CHOICES: Mapping[str, Callable[[], Coroutine[Any, Any, None]]] = {
    "shapes": run_shapes,
    "others": run_others,
    "spilling": run_spilling,
    "refusals": run_refusals,
    "changes": run_changes,
    "failover": run_failover,
    "files": run_files,
}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("names", nargs="*", metavar="bench", help=", ".join((*BENCHES, *LONG)))
    parser.add_argument("--shape", default="sliding", choices=limits.SHAPES, help="limits: how the provider limits")
    parser.add_argument("--items", type=int, default=backlog.ITEMS, help="backlog: items of the batch")
    parser.add_argument("--minutes", type=int, default=MINUTES, help="budgets: virtual minutes of each run")
    parser.add_argument("--quick", action="store_true", help="budgets: three minutes, two workers, two queues")
    parser.add_argument("--write", action="store_true", help="budgets: write docs/budgets.md and its plots")
    parser.add_argument("--admissions", type=int, help="budgets: instead, one run over so many calls")
    parser.add_argument("--rpm", type=int, default=600_000, help="budgets: requests a minute of that run")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in (*BENCHES, *LONG)]
    if unknown:
        parser.error(f"unknown bench {unknown[0]}; there are {', '.join((*BENCHES, *LONG))}")
    if given.minutes < 2:
        parser.error("--minutes must be at least 2: the first minute is not counted")
    return given


def main() -> int:
    """Run the named benches. Fails when a promise that `budgets` looks at does not hold."""
    given = arguments()
    names = given.names or list(BENCHES)
    asyncio.run(run(names))
    if "limits" in names:
        asyncio.run(run_limits(given.shape))
    for name, work in WITHOUT_CHOICES.items():
        if name in names:
            asyncio.run(work())
    if "lag" in names:
        asyncio.run(run_lag())
    if "backlog" in names:
        asyncio.run(run_backlog(given.items))
    if "budgets" not in names:
        return 0
    if given.admissions:
        asyncio.run(long(given.admissions, given.rpm))
        return 0
    return int(asyncio.run(budgets(minutes=given.minutes, quick=given.quick, write=given.write)) > 0)


if __name__ == "__main__":
    sys.exit(main())
