"""The command after `--`: run in the terminal beside Brim, with the environment to reach it."""

import asyncio
import contextlib
import signal
from collections.abc import Mapping, Sequence

from brim_server.embedded.lifeline import die_with_parent
from brim_server.running.failure import StartFailed

_GRACE_S = 2.0


async def run_command(command: Sequence[str], env: Mapping[str, str], stop: asyncio.Event) -> int:
    """Run `command` until it ends or `stop` is set, and return its exit code (128 + n after signal n).

    On `stop` it gets SIGTERM, and SIGKILL 2 s later. Raises StartFailed when it cannot be run.
    """
    try:
        # No session of its own: it keeps the terminal and gets a Ctrl-C itself.
        process = await asyncio.create_subprocess_exec(
            *command, env=dict(env), preexec_fn=die_with_parent(signal.SIGTERM)
        )
    except OSError as error:
        raise StartFailed(f"{command[0]}: {error.strerror}") from error
    ended = asyncio.create_task(process.wait())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    for rude in (signal.SIGTERM, signal.SIGKILL):
        if ended.done():
            break
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(rude)
        await asyncio.wait({ended}, timeout=_GRACE_S)
    code = await ended
    return code if code >= 0 else 128 - code
