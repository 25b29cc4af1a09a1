"""Run the benches and print what they measured: `python -m bench [noop] [http] [idle] [limits]`.

Without names all but `limits`, which takes twelve minutes.
"""

from __future__ import annotations

import asyncio
import sys

from bench import latency, limits, throughput

BENCHES = ("noop", "http", "idle")
LONG = ("limits",)


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


async def run_long(names: list[str]) -> None:
    """Run the benches that take minutes."""
    if "limits" in names:
        for result in (
            await limits.fill("requests", words=5, max_tokens=16),
            await limits.fill("tokens", words=200, max_tokens=100),
        ):
            kind = f"limits, {result.bound_by} bind"
            show(f"{kind}: share used from the second minute on", f"{result.share_used:.1%}")
            show(f"{kind}: worst sliding minute, requests of {limits.RPM}", str(result.worst_requests))
            show(f"{kind}: worst sliding minute, tokens of {limits.TPM:,}", f"{result.worst_tokens:,}")
            show(f"{kind}: 429s", str(result.refused))
            show(f"{kind}: items completed", str(result.completed))


def main() -> int:
    """Read the names of the benches to run; all without any."""
    names = sys.argv[1:] or list(BENCHES)
    unknown = [name for name in names if name not in (*BENCHES, *LONG)]
    if unknown:
        print(f"unknown bench {unknown[0]}; there are {', '.join((*BENCHES, *LONG))}", file=sys.stderr)
        return 2
    asyncio.run(run(names))
    asyncio.run(run_long(names))
    return 0


if __name__ == "__main__":
    sys.exit(main())
