"""An OpenAI-shaped provider on loopback, with true rate limiters and a judge of what arrived.

`brim-server simulate --port P --rpm N --tpm M --shape bucket|sliding|minute|slices` starts it; `--help`
lists the rest. It stands in for a provider in tests, demos and benches, so it imports nothing of the
scheduler: what it counts is a second opinion.

Metered endpoints (POST): `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`, `/v1/responses`,
`/v1/moderations`. The first two stream when asked to.
Free endpoints: `GET /v1/models`, `GET /v1/models/{id}`, and for whoever runs the test:

- `GET /stats`: what arrived and what became of it (`ledger.Ledger.stats`); `POST /stats/reset` begins anew.
- `GET /calls?since=N`: the calls numbered above N, oldest first, 10,000 a page; the newest 50,000 are kept.
- `GET /timeline`: requests, tokens and refusals per second, the last hour.
- `GET /settings`, `POST /settings {"rpm": 60, "error_rate": 0.1}`: read or change options while it runs.

A request can ask for its own fate with the body field `brim_sim` (see `script.Script`), the same JSON as a
string in `metadata.brim_sim`, or in the header `x-brim-sim`.
"""

from brim_server.simulator.cli import main

__all__ = ["main"]
