"""The packages on disk are those of the wheel, of the linter and of the type checker."""

import configparser
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from tests.architecture.tree import ROOT, SERVER_PACKAGES, files_kept, name_of, pyproject

_NOT_SHIPPED = {"bench", "tests"}


def _on_disk() -> set[str]:
    return {path.parent.name for path in files_kept() if path.name == "__init__.py" and path.parents[1] == ROOT}


def test_every_root_package_is_shipped_or_known_not_to_be() -> None:
    assert _on_disk() - _NOT_SHIPPED == SERVER_PACKAGES


def test_the_wheel_holds_the_packages_under_one_name() -> None:
    wheel = pyproject()["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(wheel["packages"]) == SERVER_PACKAGES
    moved = {name: f"brim_server/_packages/{name}" for name in SERVER_PACKAGES - {"brim_server"}}
    assert wheel["sources"] == moved


def test_the_linter_knows_every_package() -> None:
    linter = configparser.ConfigParser()
    linter.read(ROOT / ".importlinter")
    assert set(linter["importlinter"]["root_packages"].split()) == SERVER_PACKAGES | {"brim"}


def test_the_type_checker_knows_every_package() -> None:
    checked = set(pyproject()["tool"]["mypy"]["packages"])
    assert checked == (_on_disk() | {"brim"})


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {
        path.parent
        for path in files_kept()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in SERVER_PACKAGES | _NOT_SHIPPED
    }
    assert [name_of(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_server_and_client_have_one_version() -> None:
    client = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text(encoding="utf-8"))
    assert client["project"]["version"] == pyproject()["project"]["version"]


def test_an_unpacked_wheel_finds_its_own_packages_and_resources(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "unpacked")
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"brim_server"}
    asked = (
        "import sys; sys.path.insert(0, sys.argv[1]); import brim_server, scheduler, api, workers, lua;"
        "from importlib.resources import files;"
        "assert [f for f in files('lua').iterdir() if f.name.endswith('.lua')];"
        "print(brim_server.__file__, scheduler.__file__, api.__file__, workers.__file__, lua.__file__)"
    )
    answer = subprocess.run(
        [sys.executable, "-P", "-c", asked, str(tmp_path / "unpacked")],
        cwd=tmp_path,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    inside = str(tmp_path / "unpacked" / "brim_server")
    assert all(file.startswith(inside) for file in answer.split()), answer
    kept = {
        "brim_server/" + ("" if name.startswith("brim_server/") else "_packages/") + name.removeprefix("brim_server/")
        for path in files_kept()
        if (name := name_of(path)).partition("/")[0] in SERVER_PACKAGES
    }
    assert kept - set(names) == set()
