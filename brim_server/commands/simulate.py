"""brim-server simulate: run an OpenAI-shaped provider with true rate limiters."""

from collections.abc import Sequence

from setproctitle import setproctitle


def run(argv: Sequence[str]) -> int:
    """Hand everything to the simulator, which reads its own options, and return its exit code."""
    setproctitle("brim-server simulate")
    from brim_server.simulator import main

    return main(argv)
