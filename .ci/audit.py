"""Ask OSV for known weaknesses of every version in the lock files; standard library only.

Ends with 1 when there is one that is not accepted below, with 0 otherwise: also when the service cannot be
reached, which it says. `OSV_URL` names another server with the same interface.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

URL = os.environ.get("OSV_URL", "https://api.osv.dev")
PATIENCE_S = 8
LOCKS = ("requirements.lock", "requirements-dev.lock")
ACCEPTED: dict[str, str] = {}
"""Advisory id → why it does not concern us."""
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def pinned(text: str) -> set[tuple[str, str]]:
    """(name, version) of each pin of a lock file."""
    return set(_PIN.findall(text))


def known(pins: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """(name, version, advisory) as OSV knows them. Raises OSError or ValueError when its answer is none."""
    queries = [{"package": {"name": name, "ecosystem": "PyPI"}, "version": version} for name, version in pins]
    request = urllib.request.Request(
        f"{URL}/v1/querybatch", json.dumps({"queries": queries}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        results: list[dict[str, Any]] = json.load(answer)["results"]
    if len(results) != len(pins):
        raise ValueError(f"{len(results)} answers to {len(pins)} questions")
    return [
        (name, version, str(found["id"]))
        for (name, version), result in zip(pins, results, strict=True)
        for found in result.get("vulns", ())
    ]


def main(folder: Path) -> int:
    """Audit the lock files of a checkout."""
    pins = sorted(set().union(*(pinned((folder / lock).read_text(encoding="utf-8")) for lock in LOCKS)))
    try:
        found = known(pins)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        reason = problem.reason if isinstance(problem, urllib.error.URLError) else problem
        print(f"audit: NOT DONE, {URL} did not answer ({reason}); {len(pins)} versions were not looked up")
        return 0
    open_ones = [each for each in found if each[2] not in ACCEPTED]
    for name, version, advisory in open_ones:
        print(f"audit: {name} {version} has a known weakness: {advisory} (https://osv.dev/{advisory})")
    if not open_ones:
        print(f"audit: no known weakness in {len(pins)} versions, {len(found)} accepted")
    return 1 if open_ones else 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).parents[1]))
