"""A batch through OpenAI's own Python package, pointed at Brim: the code is OpenAI's, only `base_url` is ours.

    brim-server up --demo -- python examples/openai_batch.py

runs it beside Brim and a simulated provider; with BRIM_URL and BRIM_API_KEY set it runs against any Brim.
"""

from __future__ import annotations

import json
import os
import sys
import time

from openai import OpenAI

MODEL = os.environ.get("BRIM_RESOURCE", "sim-model")
WORDS = ("brim", "budget", "claim", "headroom", "lease", "settle")
REQUESTS = 60


def lines() -> bytes:
    """The input file: one request a line. `model` names a resource of Brim."""
    requests = [
        {
            "custom_id": f"request-{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": MODEL,
                "messages": [{"role": "user", "content": f"Use the word {WORDS[number % len(WORDS)]} in a sentence."}],
                "max_tokens": 20,
            },
        }
        for number in range(REQUESTS)
    ]
    return b"".join(json.dumps(each).encode() + b"\n" for each in requests)


def main() -> int:
    """Upload, create, wait, read."""
    client = OpenAI(base_url=f"{os.environ['BRIM_URL']}/v1", api_key=os.environ["BRIM_API_KEY"])

    uploaded = client.files.create(file=("questions.jsonl", lines()), purpose="batch")
    batch = client.batches.create(
        input_file_id=uploaded.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"example": "openai_batch.py"},
    )
    print(f"{batch.id} of {uploaded.id}")

    shown = ""
    while batch.status not in ("completed", "failed", "expired", "cancelled"):
        time.sleep(0.5)
        batch = client.batches.retrieve(batch.id)
        counts = batch.request_counts
        now = batch.status if counts is None else f"{batch.status}: {counts.completed} of {counts.total}"
        if now != shown:
            print(f"  {now}")
            shown = now
    if batch.errors is not None and batch.errors.data:
        print("\n".join(f"  line {fault.line}: {fault.message}" for fault in batch.errors.data))
    if batch.output_file_id is None:
        return 1

    answers = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    for answer in answers[:3]:
        print(f"  {answer['custom_id']}: {answer['response']['body']['choices'][0]['message']['content']!r}")
    usage = batch.usage
    print(f"{len(answers)} answers" + ("" if usage is None else f", {usage.total_tokens} tokens"))
    return 0 if len({answer["custom_id"] for answer in answers}) == REQUESTS else 1


if __name__ == "__main__":
    sys.exit(main())
