"""Structured logs: past-tense dotted events, one line each; never a prompt, an answer or a key."""

from __future__ import annotations

import logging
import sys

import structlog

from scheduler.settings import Settings

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
"""Without local variables, which the defaults of structlog print: prompts, answers and keys are among them."""


def configure_logs(settings: Settings, process: str) -> None:
    """Send every log line of this process to stderr as `settings` say; `process` names it on each line.

    Libraries that log through the standard library keep their words, from warning on, in the same shape.
    """
    level = _LEVELS[settings.log_level]
    to_machines = settings.log_format == "json"
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if to_machines else "%H:%M:%S", utc=to_machines),
        _TRACEBACKS if to_machines else _without_none,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if to_machines else _console(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    # It tells each process's lost connections with a traceback; what needs Postgres tells of it in one line.
    logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))


def _without_none(
    _logger: structlog.typing.WrappedLogger, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return {name: value for name, value in event.items() if value is not None}


def _shown(value: object) -> str:
    """A value as one word where it is one; quoted, on one line, where it is not."""
    text = str(value)
    return repr(value) if isinstance(value, str) and (" " in text or not text.isprintable()) else text


def _console(*, colors: bool) -> structlog.dev.ConsoleRenderer:
    """Lines for a terminal: the time of day, level, process and event, then fields in the order in which they were
    given. Short, so that most fit into its width."""
    console = structlog.dev

    def column(style: str, width: int = 0) -> console.KeyValueColumnFormatter:
        style, reset = (style, console.RESET_ALL) if colors else ("", "")
        return console.KeyValueColumnFormatter(None, style, reset, value_repr=_shown, width=width)

    levels = console.ConsoleRenderer.get_default_level_styles(colors)
    return console.ConsoleRenderer(
        columns=[
            console.Column("timestamp", column(console.DIM)),
            console.Column(
                "level", console.LogLevelColumnFormatter(levels, console.RESET_ALL if colors else "", width=7)
            ),
            console.Column("process", column(console.DIM, 6)),
            console.Column("event", column(console.BRIGHT)),
            console.Column(
                "",
                console.KeyValueColumnFormatter(
                    console.CYAN if colors else "", "", console.RESET_ALL if colors else "", value_repr=_shown
                ),
            ),
        ],
        sort_keys=False,
        exception_formatter=console.plain_traceback,
    )
