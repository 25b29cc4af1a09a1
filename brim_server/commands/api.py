"""brim-server api: run one API process against the servers of BRIM_REDIS_URL and BRIM_DATABASE_URL."""

import argparse

from setproctitle import setproctitle

NAME = "api"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options: they go before BRIM_HOST and BRIM_PORT."""
    parser.add_argument("--host", metavar="H", help="address to listen on (BRIM_HOST)")
    parser.add_argument("--port", metavar="P", type=int, help="port to listen on, 0 for a free one (BRIM_PORT)")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    setproctitle("brim-server api")
    from api.process import run as serve
    from brim_server.running.eviction import refuse_evicting_redis_now
    from brim_server.running.ports import choose_port
    from scheduler.settings import Settings

    given = {"host": arguments.host, "port": arguments.port}
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    if settings.port:
        choose_port(settings.host, settings.port)  # for its words: without it a taken one ends in a traceback
    refuse_evicting_redis_now(settings.redis_url)
    serve(settings)
    return 0
