"""The documents tell the truth about settings and metrics."""

import re

from prometheus_client.metrics import MetricWrapperBase

from scheduler import metrics
from scheduler.settings import Settings
from tests.architecture.tree import ROOT, files_kept, name_of

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


def test_every_link_leads_to_a_file() -> None:
    dead = [
        f"{name_of(page)}: {target}"
        for page in files_kept()
        if page.suffix == ".md"
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert dead == []


def test_the_tree_that_is_drawn_is_the_tree_that_is_there() -> None:
    drawn = (ROOT / "docs" / "architecture.md").read_text("utf-8").partition("## The tree")[2].split("```")[1]
    subjects = re.findall(r"^ {4}([a-z][a-z, ]*?) {2,}", drawn, re.MULTILINE)
    folders = re.findall(r"^(scheduler/[a-z_]+|[a-z_]+(?=/ ))", drawn, re.MULTILINE)
    services = {name for line in subjects for name in line.split(", ")}
    there = ROOT / "scheduler" / "services"
    assert services == {path.stem for path in there.iterdir() if path.name not in ("__init__.py", "__pycache__")}
    assert {"scheduler/domain", "workers", "client"} <= set(folders)
    assert [name for name in folders if not (ROOT / name).exists() and not (ROOT / f"{name}.py").exists()] == []
