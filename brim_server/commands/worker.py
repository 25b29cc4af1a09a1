"""brim-server worker: run one worker process; start as many as you like, anywhere."""

import argparse

from setproctitle import setproctitle

NAME = "worker"


def configure(_: argparse.ArgumentParser) -> None:
    """A worker has no options: its settings are environment variables."""


def run(_: argparse.Namespace) -> int:
    """Work until SIGTERM or SIGINT, then drain."""
    setproctitle("brim-server worker")
    from brim_server.running.eviction import refuse_evicting_redis_now
    from scheduler.settings import Settings
    from workers.process import run as work

    settings = Settings()
    refuse_evicting_redis_now(settings.redis_url)
    return work(settings)
