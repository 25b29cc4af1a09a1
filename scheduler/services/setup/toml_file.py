"""The TOML file of the declarative set-up: its form, and its tables as the API would write them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct

from scheduler.domain.errors import BrimError, Invalid
from scheduler.services.reading.problems import Problems, located
from scheduler.services.setup.bodies import Name

Table = dict[str, Any]
T = TypeVar("T")
_MEANT = re.compile(r"(?<=did you mean )\w+(?=\?$)")
_CAPITAL = re.compile(r"(?<=[a-z])[A-Z]")


class EnvironmentTable(Struct, forbid_unknown_fields=True):
    """An environment with what it holds."""

    name: Name
    id: UUID | None = None
    connection: list[Table] = []
    resource: list[Table] = []
    api_key: list[Table] = []
    pool: list[Table] = []


class WorkspaceTable(Struct, forbid_unknown_fields=True):
    """A workspace with its environments."""

    name: Name
    id: UUID | None = None
    environment: list[EnvironmentTable] = []


class SetupFile(Struct, forbid_unknown_fields=True):
    """The whole file."""

    workspace: list[WorkspaceTable] = []


def parsed(text: str) -> SetupFile:
    """The file of a text. Raises Invalid naming what is wrong."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"The configuration is not valid TOML: {error}") from None
    return converted(raw, SetupFile, "")


def converted(raw: object, kind: type[T], place: str) -> T:
    """A table as a body. Raises Invalid naming `place` and the field as the file writes it."""
    problems = Problems()
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        field, message = located(error, kind)
        message = _MEANT.sub(lambda meant: in_file(meant[0]), message)
        problems.add(".".join(part for part in (place, in_file(field)) if part), message)
    problems.raise_if_any()
    raise AssertionError("unreachable")


def placed(error: BrimError, place: str) -> BrimError:
    """The same error, naming where in the file it is: `place`, and the field as the file writes it."""
    if error.message.startswith(place):
        return error
    [*_, problem] = (error.details or {}).get("errors") or [{}]
    if problem.get("field"):
        # The file has some fields beside `config` that the API has in it.
        field = in_file(problem["field"]).removeprefix("config.").replace("pools[", "pool[")
        message = f"{place}{'.' if ': ' in place else ': '}{field}: {problem['message']}"
    else:
        message = f"{place}: {error.message}"
    return type(error)(message, code=error.code)


def together(faults: Sequence[BrimError]) -> BrimError:
    """Several errors as one that lists them in `details["errors"]`; a single one as it is."""
    if len(faults) == 1:
        return faults[0]
    errors = [{"field": "", "message": each.message, "errorCode": each.code} for each in faults]
    return Invalid(faults[0].message, details={"errors": errors, "errorCount": len(errors)})


def in_file(name: str) -> str:
    """A field of the API as the file writes it: `baseUrl` as `base_url`."""
    return _CAPITAL.sub(lambda capital: f"_{capital[0].lower()}", name)


def _camel_name(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)


def camel(table: Table) -> Table:
    """A table with names as the API has them; what lies inside default_args and config headers is not ours."""
    fields = {_camel_name(name): value for name, value in table.items()}
    if isinstance(fields.get("capacity"), list):
        fields["capacity"] = [
            {_camel_name(name): value for name, value in each.items()} if isinstance(each, dict) else each
            for each in fields["capacity"]
        ]
    if isinstance(fields.get("config"), dict):
        fields["config"] = {_camel_name(name): value for name, value in fields["config"].items()}
    return fields


def rename(fields: Table, old: str, new: str) -> None:
    """Give a field, if it is there, its name of the API."""
    if old in fields:
        fields[new] = fields.pop(old)


def tables(value: object, place: str) -> list[Table]:
    """A list of tables. Raises Invalid for anything else."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise Invalid(f"{place} must be a list of tables")
    return value


def target_of(target: Table, place: str) -> Table:
    """{connection = name or id, model = …} as the API writes a target."""
    connection, model = target.pop("connection", None), target.pop("model", None)
    if target:
        raise Invalid(f"{place}.{next(iter(target))} is not known")
    if not isinstance(connection, str) or not isinstance(model, str):
        raise Invalid(f"{place}: connection and model are required")
    try:
        return {"connectionId": str(UUID(connection)), "model": model}
    except ValueError:
        return {"connectionName": connection, "model": model}
