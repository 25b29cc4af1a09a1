"""`python -m brim_server`: the same as the command `brim-server`."""

import sys


def main() -> int:
    """Run the command line and return the exit code of the process."""
    from brim_server.cli import main as run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
