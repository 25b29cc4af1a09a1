"""brim-server migrate: bring the database of BRIM_DATABASE_URL to this version; harmless to repeat."""

import argparse
import asyncio
from pathlib import Path

from setproctitle import setproctitle

NAME = "migrate"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--config", metavar="FILE", type=Path, help="also apply this declarative set-up (idempotent)")


def run(arguments: argparse.Namespace) -> int:
    """Migrate, then apply the set-up if one is given."""
    setproctitle("brim-server migrate")
    asyncio.run(_run(arguments.config))
    return 0


async def _run(config: Path | None) -> None:
    from brim_server.running import configuration
    from scheduler.logs import configure_logs
    from scheduler.settings import Settings

    settings = Settings()
    configure_logs(settings, "migrate")
    await configuration.migrate_database(settings)
    print("the database is at the version of this Brim")
    if config is not None:
        applied = await configuration.apply(settings, config)
        for line in applied.announcements:
            print(line)
        for each in applied.addresses:
            print(f"{each.name}: BRIM_WORKSPACE={each.workspace_id} BRIM_ENVIRONMENT={each.environment_id}")
