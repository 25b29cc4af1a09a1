"""What the command's exit code says. README.md lists them for users; a test compares the two."""

from __future__ import annotations

from enum import IntEnum

from ..errors import (
    ApiError,
    BrimError,
    ConfigurationError,
    ConnectionFailed,
    InvalidJsonl,
    StreamError,
    Unavailable,
    UnexpectedAnswer,
    WaitTimedOut,
)


class ExitCode(IntEnum):
    """The codes, fixed for scripts."""

    OK = 0
    BATCH_FAILED = 1
    BAD_INPUT = 2
    REFUSED = 3
    UNREACHABLE = 4
    INTERRUPTED = 130
    OUTPUT_CLOSED = 141


def exit_code_of(error: BrimError) -> ExitCode:
    """The code for an error that ended the command."""
    match error:
        case ConfigurationError() | InvalidJsonl():
            return ExitCode.BAD_INPUT
        case Unavailable(status=status) if status != 429:
            return ExitCode.UNREACHABLE
        case ConnectionFailed() | WaitTimedOut():
            return ExitCode.UNREACHABLE
        case ApiError() | StreamError() | UnexpectedAnswer():
            return ExitCode.REFUSED
        case _:
            return ExitCode.REFUSED
