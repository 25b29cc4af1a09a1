"""The settings of a running `up`, for the commands that are run beside it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brim_server.running.keys import read_key
from brim_server.running.published import read_published


@dataclass(frozen=True, slots=True)
class Beside:
    """A data folder, and the settings of the `up` that runs in it; None: none does."""

    folder: Path
    values: Mapping[str, Any] | None


def beside(named: Path | None, environ: Mapping[str, str] = os.environ) -> Beside:
    """Look into the folder `named`, else into that of BRIM_DATA_DIR, else into .brim. What the environment sets goes
    before what `up` has, unless the folder was named."""
    folder = named or Path(environ.get("BRIM_DATA_DIR") or ".brim")
    found = read_published(folder)
    if found is None:
        return Beside(folder, None)
    known = {
        "redis_url": found.redis_url,
        "database_url": found.database_url,
        "files_dir": found.files_dir,
        "secret_key": read_key(folder / "secret.key"),
    }
    return Beside(
        folder,
        {
            name: value
            for name, value in known.items()
            if value is not None and (named is not None or f"BRIM_{name.upper()}" not in environ)
        },
    )
