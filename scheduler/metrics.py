"""Every Prometheus metric of Brim: name, kind, unit, meaning. Labels only from closed sets.

Updated per flush or claim rather than per item where that loses nothing: a worker has some 30 µs for an item.
"""

from __future__ import annotations

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

_WAIT_MS = (1, 2, 5, 10, 20, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000)
_RUN_MS = (1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

ATTEMPTS = Counter(
    "brim_attempts_total",
    "Attempts ended, by how: succeeded, retry, failed, limit_hit, fatal, unsent.",
    ["end"],
)
OUTCOMES = Counter(
    "brim_outcomes_total",
    "Outcomes that the flush was given, by what became of them: recorded, duplicate, stale, deferred.",
    ["became"],
)
IN_FLIGHT = Gauge("brim_in_flight", "Attempts in flight in this process.")
CLAIMS = Counter("brim_claims_total", "Claims made, by what they brought: full, some, none.", ["brought"])
CLAIMED_ITEMS = Counter("brim_claimed_items_total", "Entries claimed.")
SEND_MS = Histogram("brim_send_ms", "Issue of a claim to departure of its calls, in ms.", buckets=_WAIT_MS)
RUN_MS = Histogram("brim_run_ms", "Departure of a call to its answer, in ms.", buckets=_RUN_MS)
FLUSH_OUTCOMES = Histogram("brim_flush_outcomes", "Outcomes per flush.", buckets=_SIZES)
FLUSH_MS = Histogram("brim_flush_ms", "Duration of a flush, in ms.", buckets=_WAIT_MS)
UNFLUSHED = Gauge("brim_unflushed_outcomes", "Outcomes that wait in this process for the next flush.")
LEASES_LOST = Counter("brim_leases_lost_total", "Leases that passed to another holder while we worked.")
RECLAIMED = Counter("brim_reclaimed_total", "Expired leases taken back from holders that went silent.")
REFILLED_ITEMS = Counter("brim_refilled_items_total", "Entries pushed by refills and repairs.")
REPAIRED_FLOWS = Counter("brim_repaired_flows_total", "Flows whose window was built anew.")
EPOCHS_RAISED = Counter("brim_epochs_raised_total", "Shards opened anew after Redis lost its memory.")
PAUSES = Counter("brim_pauses_total", "Connections paused, by why: limit, fatal, unreachable.", ["why"])
CANCELLED_ITEMS = Counter("brim_cancelled_items_total", "Items that the canceller recorded as cancelled.")
DELIVERIES = Counter(
    "brim_deliveries_total", "Callbacks tried, by what became of them: delivered, again, dead.", ["became"]
)


def snapshot() -> dict[str, float]:
    """The counters and gauges of this process by name (labels in brackets): what a worker's beat carries,
    so that one process can show the figures of all. Histograms are left out."""
    return {
        sample.name + (f"[{','.join(sample.labels.values())}]" if sample.labels else ""): sample.value
        for metric in REGISTRY.collect()
        if metric.name.startswith("brim_") and metric.type in ("counter", "gauge")
        for sample in metric.samples
        if not sample.name.endswith("_created")
    }
