"""`python -m tests.embedded.holder FOLDER`: hold embedded servers until the standard input ends."""

import asyncio
import json
import sys
from pathlib import Path

from brim_server.embedded import EmbeddedServers


async def hold(folder: Path) -> None:
    """Start the servers, say where they are in one line, and wait."""
    async with EmbeddedServers(folder) as servers:
        report = {
            "redis_url": servers.redis_url,
            "database_url": servers.database_url,
            "pids": [servers.redis_pid, servers.postgres_pid],
        }
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(hold(Path(sys.argv[1])))
