"""`make chaos`: seeded runs and single trials against a running stack; ends with 0 only if every promise was kept."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from tests.chaos.outages import Outcome, outage, wipe
from tests.chaos.run import Shape, Verdict, run
from tests.chaos.stopped import Stopped, trials


def say(text: str) -> None:
    """A line of the report, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def report(verdict: Verdict, *, faults: bool) -> str:
    """A line of figures, and what was broken."""
    trouble = verdict.trouble
    lines = [
        f"seed {verdict.seed}: {_word(not verdict.violations)}  items {verdict.items} "
        f"{verdict.statuses}  calls {verdict.calls} (again after an answer: {verdict.repeated})  "
        f"callbacks {verdict.receipts}  worst minute {verdict.worst_minute}  503s {trouble.unavailable}  "
        f"cut {trouble.cut}  resumed {trouble.streams_resumed}  took {verdict.took_s:.0f} s"
    ]
    lines += [f"    {fault}" for fault in verdict.faults if faults or verdict.violations]
    lines += [f"  ! {violation}" for violation in verdict.violations[:40]]
    return "\n".join(lines)


def _word(kept: bool) -> str:
    return "KEPT" if kept else "BROKEN"


def _outage_line(name: str, kept: bool, seen: Outcome) -> str:
    return (
        f"{name}: {_word(kept)}  {seen.completed} of {seen.items} completed in {seen.took_s:.0f} s, events in order: "
        f"{seen.in_order}, worst minute {seen.worst_minute} of {seen.limit}, refused {seen.refused}, calls repeated "
        f"{seen.repeats} (after an answer {seen.after_answer})"
    )


def _stopped_line(seen: Stopped) -> str:
    lines = [
        f"stopped: {_word(not seen.violations)}  {seen.trials} workers stopped for three leases; {seen.run_again} of "
        f"their items were leased again meanwhile, {seen.run_after_retry} of them run once more by a retry"
    ]
    return "\n".join([*lines, *(f"  ! {violation}" for violation in seen.violations[:40])])


def _runs(arguments: argparse.Namespace) -> bool:
    first, _, last = arguments.seeds.partition("-")
    kept = True
    for seed in range(int(first), int(last or first) + 1):
        log = None if arguments.logs is None else arguments.logs / f"seed-{seed}.log"
        verdict = asyncio.run(run(seed, Shape(seconds=arguments.seconds), log))
        say(report(verdict, faults=arguments.faults))
        kept = kept and not verdict.violations
    return kept


def _wipe(_: argparse.Namespace) -> bool:
    seen = asyncio.run(wipe())
    say(_outage_line("FLUSHALL at half", seen.kept, seen))
    return seen.kept


def _outage(_: argparse.Namespace) -> bool:
    seen = asyncio.run(outage())
    kept = seen.kept and seen.repeats == 0
    say(_outage_line("Postgres away for 10 s", kept, seen))
    return kept


def _stopped(arguments: argparse.Namespace) -> bool:
    seen = asyncio.run(trials(arguments.trials))
    say(_stopped_line(seen))
    return not seen.violations


PARTS = {"runs": _runs, "wipe": _wipe, "outage": _outage, "stopped": _stopped}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all of them")
    parser.add_argument("--seeds", default="1-20", help="of the runs: first-last")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="of faults in a run; the quiet after them comes on top"
    )
    parser.add_argument("--trials", type=int, default=200, help="of stopped workers")
    parser.add_argument("--logs", type=Path, help="folder for what Brim's processes said in the runs")
    parser.add_argument("--faults", action="store_true", help="list the faults of every run")
    arguments = parser.parse_args()
    for name in arguments.parts:
        if name not in PARTS:
            parser.error(f"{name} is none of {', '.join(PARTS)}")
    kept = [PARTS[name](arguments) for name in arguments.parts or PARTS]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
