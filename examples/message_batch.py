"""A message batch through Anthropic's own Python package, pointed at Brim: any provider may stand behind `model`.

    brim-server up --demo -- python examples/message_batch.py

runs it beside Brim and a simulated provider; with BRIM_URL and BRIM_API_KEY set it runs against any Brim.
"""

from __future__ import annotations

import os
import sys
import time

from anthropic import Anthropic

MODEL = os.environ.get("BRIM_RESOURCE", "sim-model")
REQUESTS = 40


def main() -> int:
    """Create, wait, read."""
    client = Anthropic(base_url=os.environ["BRIM_URL"], api_key=os.environ["BRIM_API_KEY"])
    batch = client.messages.batches.create(
        requests=[
            {
                "custom_id": f"request-{number}",
                "params": {
                    "model": MODEL,
                    "max_tokens": 20,
                    "messages": [{"role": "user", "content": f"Say the number {number}."}],
                },
            }
            for number in range(REQUESTS)
        ]
    )
    while batch.processing_status != "ended":
        time.sleep(0.5)
        batch = client.messages.batches.retrieve(batch.id)
    print(f"{batch.id}: {batch.request_counts.succeeded} of {REQUESTS} succeeded")
    answered = {each.custom_id for each in client.messages.batches.results(batch.id) if each.result.type == "succeeded"}
    return 0 if len(answered) == REQUESTS else 1


if __name__ == "__main__":
    sys.exit(main())
