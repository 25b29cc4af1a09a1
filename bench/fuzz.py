"""Fuzz the HTTP interface by its own description: whatever is sent, no answer may be a 5xx.

`make fuzz` runs 10,000 cases and more against a stack of its own; `python -m bench.fuzz --cases N` any number. Half of
them come with a tenant's key and with ids that exist, half with the admin key and made-up ids.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.stack import ENVIRONMENT, WORKSPACE, Stack, simulator, single, stack

ADMIN_KEY = "admin-key-of-the-fuzzer"
CASES = 10_000
WITHIN_S = 3_600
REQUEST_S = 20
SAYS_503 = "/health/ready"
"""Answers 503 on purpose, when a store takes longer than two seconds."""
CHECKS = "not_a_server_error"
PHASES = "examples,coverage,fuzzing"
_CASES = re.compile(r"([\d,]+) generated")


@dataclass(frozen=True, slots=True)
class Pass:
    """One run of schemathesis. cases: requests that it sent."""

    name: str
    cases: int
    good: bool
    output: str


async def fuzz(cases: int, *, phases: str = PHASES, within_s: int = WITHIN_S, seed: int | None = None) -> list[Pass]:
    """Run both halves; each operation gets its share of the cases."""
    settings = {"BRIM_ADMIN_KEY": ADMIN_KEY, "BRIM_CALLBACK_ALLOW_HOSTS": "127.0.0.1"}
    async with (
        simulator("--latency-ms", "1") as provider,
        stack(single("openai-compatible", f"{provider}/v1"), settings=settings) as brim,
    ):
        description = await _description(brim)
        operations = sum(len(each) for each in description["paths"].values())
        each = max(1, math.ceil(cases / 2 / operations))
        key, known = await _tenant(brim)
        # The admin's cases come last: they may delete what the others need.
        options = ["--max-examples", str(each), "--phases", phases]
        options += [] if seed is None else ["--seed", str(seed)]
        return [
            await _run("tenant key, ids that exist", brim, description, key, known, options, within_s),
            await _run("admin key, made-up ids", brim, description, ADMIN_KEY, {}, options, within_s),
        ]


async def _description(brim: Stack) -> dict[str, Any]:
    async with brim.session.get(f"{_origin(brim)}/openapi.json") as answer:
        return dict(await answer.json())


def _origin(brim: Stack) -> str:
    return brim.base.partition("/v1/")[0]


async def _tenant(brim: Stack) -> tuple[str, dict[str, str]]:
    """A key that may do everything but set up, and ids of things that exist."""
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    body = {"name": "fuzzer"}
    path = f"{_origin(brim)}/v1/api-key/{WORKSPACE}/{ENVIRONMENT}"
    async with brim.session.post(path, json=body, headers=headers) as answer:
        made = await answer.json()
    request = {"messages": [{"role": "user", "content": "Hello"}]}
    options = {"url": "http://127.0.0.1:9/hook", "events": ["all"], "secret": "a-secret"}
    items = [{"resourceId": "model", "request": request} for _ in range(3)]
    batch_id = await brim.post(items, type="CALLBACK", callbackOptions=options)
    await brim.finished(batch_id, 30)
    async with brim.session.get(f"{brim.base}/{batch_id}") as answer:
        whole = await answer.json()
    async with brim.session.get(f"{brim.base}/{batch_id}/deliveries") as answer:
        deliveries = await answer.json()
    known = {
        "batchId": batch_id,
        "itemId": whole["items"][0]["itemId"],
        "resourceId": whole["items"][0]["resourceId"],
        "deliveryId": deliveries["data"][0]["deliveryId"],
        "model": "model",
    }
    return str(made["key"]), known


async def _run(
    name: str,
    brim: Stack,
    description: dict[str, Any],
    key: str,
    known: dict[str, str],
    options: list[str],
    within_s: int,
) -> Pass:
    folder = Path(tempfile.mkdtemp(prefix="brim-fuzz-"))
    try:
        schema = folder / "openapi.json"
        schema.write_text(json.dumps(description))
        fixed = {"workspaceId": WORKSPACE, "environmentId": ENVIRONMENT, **known}
        lines = ["[parameters]", *(f'"path.{name}" = {json.dumps(value)}' for name, value in fixed.items())]
        config = folder / "schemathesis.toml"
        config.write_text("\n".join(lines) + "\n")
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", str(schema)),
            *("--url", _origin(brim), "--header", f"Authorization: Bearer {key}", "--checks", CHECKS),
            *("--continue-on-failure", "--request-timeout", str(REQUEST_S)),
            # One thread: on Python 3.11 two that make an AST at once may fail ("recursion depth mismatch").
            *("--workers", "1", "--exclude-path", SAYS_503),
            *("--suppress-health-check", "all", "--warnings", "off", "--no-shrink", *options),
        ]
        environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "160"}
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(within_s):
            out, _ = await process.communicate()
        output = out.decode(errors="replace")
        found = _CASES.search(output)
        return Pass(name, int(found[1].replace(",", "")) if found else 0, process.returncode == 0, output)
    finally:
        shutil.rmtree(folder)


def main() -> int:
    """0 when no answer was a 5xx and at least so many cases were sent."""
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=CASES)
    asked = parser.parse_args()
    passes = asyncio.run(fuzz(asked.cases))
    sent = sum(each.cases for each in passes)
    for each in passes:
        print(each.output)
    for each in passes:
        print(f"{each.name}: {each.cases:,} cases, {'no 5xx' if each.good else 'FAILED'}")
    print(f"{sent:,} cases in all")
    return 0 if all(each.good for each in passes) and sent >= asked.cases else 1


if __name__ == "__main__":
    sys.exit(main())
