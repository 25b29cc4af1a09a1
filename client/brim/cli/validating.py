"""`brim validate`: whether a file is one of batch requests."""

from __future__ import annotations

import sys

from ..errors import ConfigurationError
from ..jsonl import ValidatedJsonl, validate_jsonl
from .exit_codes import ExitCode
from .file_arguments import Validate
from .output import write_json


def validate(command: Validate) -> ExitCode:
    """Check the file and say what it holds. Raises InvalidJsonl at its first fault."""
    found = _validated(command)
    if command.json:
        write_json({"line_count": found.line_count, "bytes": found.bytes})
    else:
        name = "stdin" if command.file == "-" else command.file
        print(f"{name}: valid, {found.line_count:,} line{'' if found.line_count == 1 else 's'}, {found.bytes:,} bytes")
    return ExitCode.OK


def _validated(command: Validate) -> ValidatedJsonl:
    try:
        return validate_jsonl(
            sys.stdin.buffer if command.file == "-" else command.file,
            max_bytes=command.max_bytes,
            max_lines=command.max_lines,
            require_method=command.require_method,
            require_url=command.require_url,
        )
    except OSError as error:
        raise ConfigurationError(f"cannot read {command.file}: {error.strerror or error}") from None
