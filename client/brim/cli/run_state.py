"""What `brim batch run` remembers between two tries: a small file beside the output."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError

_PIECE_BYTES = 1 << 20
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """What makes two runs the same: where, which content, and what was asked for it."""

    url: str
    sha256: str
    endpoint: str
    completion_window: str


@dataclass(frozen=True, slots=True)
class RunState:
    """How far a run has come. run_id: put into the batch's metadata, so that it is found again when we ended between
    its creation and writing its id down."""

    asked: Asked
    run_id: str
    file_id: str | None = None
    batch_id: str | None = None


class StateFile:
    """The state of one output."""

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(f".{output.name}.brim-run")

    def load(self, asked: Asked, *, fresh: bool) -> RunState:
        """The earlier state of the same run, or that of a new one. Raises ConfigurationError when the earlier one asked
        for something else."""
        raw = None if fresh else self._read()
        if raw is None:
            return RunState(asked, secrets.token_hex(8))
        try:
            found = RunState(Asked(**raw["asked"]), str(raw["run_id"]), raw["file_id"], raw["batch_id"])
        except (KeyError, TypeError):
            raise ConfigurationError(f"{self.path} cannot be read; --fresh starts anew") from None
        if found.asked != asked:
            raise ConfigurationError(
                f"{self.path} belongs to another run (another input, server, endpoint or window); --fresh starts anew"
            )
        return found

    def save(self, state: RunState, **changes: str | None) -> RunState:
        """Write the state with its changes; the old one stays until the new one is whole."""
        state = replace(state, **changes)  # type: ignore[arg-type]
        temporary = self.path.with_name(self.path.name + ".part")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump({"version": _VERSION, **asdict(state)}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
        return state

    def remove(self) -> None:
        """The run is over."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any] | None:
        try:
            raw = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            raw = None
        if not isinstance(raw, dict) or raw.get("version") != _VERSION:
            raise ConfigurationError(f"{self.path} cannot be read; --fresh starts anew")
        return raw


def sha256_of(path: Path) -> str:
    """The digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()
