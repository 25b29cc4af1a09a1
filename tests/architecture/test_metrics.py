"""Metrics of many processes as one text that Prometheus reads."""

from prometheus_client.parser import text_string_to_metric_families

from scheduler import metrics


def test_the_figures_of_each_process_stand_under_its_name() -> None:
    metrics.CLAIMED_ITEMS.inc(3)
    metrics.ATTEMPTS.labels("failed").inc()
    metrics.FLUSH_OUTCOMES.observe(7)
    own = metrics.snapshot()
    families = {f.name: f for f in text_string_to_metric_families(metrics.exposition({"api": own, "w-1": own}))}
    assert {s.labels["process"] for s in families["brim_claimed_items"].samples} == {"api", "w-1"}
    (failed,) = (s for s in families["brim_attempts"].samples if s.labels == {"process": "w-1", "end": "failed"})
    assert failed.value == own['brim_attempts_total{end="failed"}']
    buckets = [s for s in families["brim_flush_outcomes"].samples if s.name.endswith("_bucket")]
    assert {s.labels["le"] for s in buckets} >= {"8.0", "+Inf"}
