"""Every Prometheus metric of Brim: name, kind, unit, meaning. Labels only from closed sets.

Updated per flush or claim rather than per item where that loses nothing: a worker has some 30 µs for an item.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

PREFIX = "brim_"

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
FORGOTTEN_BATCHES = Counter("brim_forgotten_batches_total", "Batches forgotten because of their age.")
PAUSES = Counter("brim_pauses_total", "Connections paused, by why: limit, growth, unreachable.", ["why"])
PARKINGS = Counter("brim_parkings_total", "Connections parked, by what was shut: connection, model.", ["shut"])
CANCELLED_ITEMS = Counter("brim_cancelled_items_total", "Items that the canceller recorded as cancelled.")
EXPIRED_ITEMS = Counter("brim_expired_items_total", "Items that failed because their batch's deadline passed.")
DELIVERIES = Counter(
    "brim_deliveries_total", "Callbacks tried, by what became of them: delivered, again, dead.", ["became"]
)
DIRECT_CALLS = Counter(
    "brim_direct_calls_total",
    "Direct calls ended, by how: answered, failed, refused (not admitted in time), cancelled.",
    ["end"],
)
DIRECT_WAIT_MS = Histogram("brim_direct_wait_ms", "Arrival of a direct call to its admission, in ms.", buckets=_WAIT_MS)
DIRECT_IN_FLIGHT = Gauge("brim_direct_in_flight", "Direct calls in flight in this process.")


def snapshot() -> dict[str, float]:
    """Brim's metrics of this process by sample, as Prometheus writes it (`brim_attempts_total{end="failed"}`): what a
    worker's beat carries, so that one process can show the figures of all."""
    return {
        _sample(sample.name, sample.labels): sample.value
        for family in REGISTRY.collect()
        if family.name.startswith(PREFIX)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def exposition(processes: Mapping[str, Mapping[str, float]]) -> str:
    """Brim's metrics of many processes in Prometheus' text form, told apart by the label `process`.

    processes: snapshots by the name of the process. They are not added up: a counter whose process ended must not
    look like one that fell.
    """
    lines: list[str] = []
    for family in REGISTRY.collect():
        if not family.name.startswith(PREFIX):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        lines += (f"# HELP {name} {family.documentation}", f"# TYPE {name} {family.type}")
        for process, samples in processes.items():
            lines += (
                f"{_labelled(sample, process)} {value}"
                for sample, value in samples.items()
                if _family(sample) in (name, f"{name}_bucket", f"{name}_sum", f"{name}_count")
            )
    return "\n".join(lines) + "\n"


def _sample(name: str, labels: Mapping[str, str]) -> str:
    return name + ("{" + ",".join(f'{label}="{value}"' for label, value in labels.items()) + "}" if labels else "")


def _family(sample: str) -> str:
    return sample.partition("{")[0]


def _labelled(sample: str, process: str) -> str:
    name, _, rest = sample.partition("{")
    return f'{name}{{process="{process}"' + (f",{rest}" if rest else "}")
