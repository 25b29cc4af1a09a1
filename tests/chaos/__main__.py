"""`make chaos`: seeded runs, one after another; ends with 0 only if every promise was kept in each."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from tests.chaos.run import Shape, Verdict, run


def report(verdict: Verdict, *, faults: bool) -> str:
    """A line of figures, and what was broken."""
    trouble = verdict.trouble
    lines = [
        f"seed {verdict.seed}: {'KEPT' if not verdict.violations else 'BROKEN'}  items {verdict.items} "
        f"{verdict.statuses}  calls {verdict.calls} (again after an answer: {verdict.repeated})  "
        f"callbacks {verdict.receipts}  worst minute {verdict.worst_minute}  503s {trouble.unavailable}  "
        f"cut {trouble.cut}  resumed {trouble.streams_resumed}  took {verdict.took_s:.0f} s"
    ]
    lines += [f"    {fault}" for fault in verdict.faults if faults or verdict.violations]
    lines += [f"  ! {violation}" for violation in verdict.violations[:40]]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", default="1-3", help="first-last")
    parser.add_argument("--seconds", type=float, default=60.0, help="of faults; the quiet after them comes on top")
    parser.add_argument("--logs", type=Path, help="folder for what Brim's processes said")
    parser.add_argument("--faults", action="store_true", help="list the faults of every run")
    arguments = parser.parse_args()
    first, _, last = arguments.seeds.partition("-")
    broken = 0
    for seed in range(int(first), int(last or first) + 1):
        log = None if arguments.logs is None else arguments.logs / f"seed-{seed}.log"
        verdict = asyncio.run(run(seed, Shape(seconds=arguments.seconds), log))
        sys.stdout.write(report(verdict, faults=arguments.faults) + "\n")
        sys.stdout.flush()
        broken += bool(verdict.violations)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
