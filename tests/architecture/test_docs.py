"""The documents tell the truth about settings and metrics."""

from prometheus_client.metrics import MetricWrapperBase

from scheduler import metrics
from scheduler.settings import Settings
from tests.architecture.tree import ROOT

OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")


def test_every_setting_is_documented_with_its_default() -> None:
    for name, field in Settings.model_fields.items():
        line = next((line for line in OPERATIONS.splitlines() if line.startswith(f"| `BRIM_{name.upper()}` |")), None)
        assert line is not None, f"docs/operations.md lacks BRIM_{name.upper()}"
        assert str(field.description) in line
        if field.default not in (None, (), False, True):
            assert f"`{field.default}`" in line


def test_every_metric_is_documented() -> None:
    for value in vars(metrics).values():
        if isinstance(value, MetricWrapperBase):
            (described,) = value.describe()
            assert f"| `{described.name}" in OPERATIONS, f"docs/operations.md lacks {described.name}"
            assert described.documentation in OPERATIONS
