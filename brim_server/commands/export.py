"""brim-server export: write a batch into a folder: input, results and status; with --follow until it ends.

Without BRIM_DATABASE_URL it takes the batch from the running `up` of the data folder.
"""

import argparse
import asyncio
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from setproctitle import setproctitle

NAME = "export"
_PAUSE_S = 0.5


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("batch", metavar="BATCH", help="id of a batch of any face: batch_…, msgbatch_… or a UUID")
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder in which the batch gets a folder of its own")
    parser.add_argument(
        "--data-dir", metavar="DIR", type=Path, help="folder of a running `up` (BRIM_DATA_DIR, else .brim)"
    )
    parser.add_argument("--follow", action="store_true", help="go on until the batch has ended")


def run(arguments: argparse.Namespace) -> int:
    """Write the folder. One that was begun and not finished is taken up again; a finished one is an error."""
    setproctitle("brim-server export")
    return asyncio.run(write(arguments.batch, arguments.folder, follow=arguments.follow, data_dir=arguments.data_dir))


async def write(text: str, folder: Path, *, follow: bool, data_dir: Path | None = None) -> int:
    """Write the folder of a batch. Raises NotFound; Conflict when it is finished, or another process writes it."""
    from brim_server.running.beside import beside
    from scheduler.bootstrap import open_core
    from scheduler.domain.errors import Conflict, NotFound
    from scheduler.services.submissions.spool_folder import read_status
    from scheduler.services.submissions.spooling import find, folder_name, open_spool
    from scheduler.settings import Settings

    batch_id = _batch_id(text)
    async with open_core(Settings(**(beside(data_dir).values or {})), max_connections=2) as core:
        submission = None if batch_id is None else await find(core.store, batch_id)
        if submission is None or batch_id is None:
            raise NotFound(f"There is no batch {text}.")
        name = folder_name(submission)
        status = read_status(folder / name)
        if status is not None and status.is_final:
            raise Conflict(f"{folder / name} exists already, and is finished.", code="ALREADY_EXISTS")
        spooling = await open_spool(core.store, core.files, folder, submission)
        if spooling is None:
            raise Conflict(f"{folder / name} is being written by another process.", code="ALREADY_EXISTS")
        try:
            while True:
                step = await spooling.step(submission, datetime.now(UTC))
                if not step.more and (step.status.is_final or not follow):
                    break
                if not step.more:
                    await asyncio.sleep(_PAUSE_S)
                submission = await find(core.store, batch_id) or submission
        finally:
            spooling.close()
    told = step.status
    print(f"{folder / name}: {told.completed_lines:,} of {told.total_lines:,} lines, {told.status}")
    return 0


def _batch_id(text: str) -> UUID | None:
    from scheduler.domain.public_ids import BATCH, MESSAGE_BATCH, read_id

    try:
        return read_id(BATCH, text) or read_id(MESSAGE_BATCH, text) or UUID(text)
    except ValueError:
        return None
