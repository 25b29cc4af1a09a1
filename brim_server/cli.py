"""The command line of `brim-server`."""

from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Run one subcommand and return the exit code."""
    print("brim-server", *argv)
    return 0
