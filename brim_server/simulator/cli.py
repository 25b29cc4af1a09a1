"""`brim-server simulate`: options in, a listening provider out."""

import argparse
import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from typing import Any, get_args

from brim_server.simulator.options import Options, PromptCount, RetryAfterHeaders, Shape
from brim_server.simulator.server import running

_FOR_EVER_S = 1e9


def main(argv: Sequence[str]) -> int:
    """Run the simulator until SIGTERM or SIGINT; 0, or 1 when the address cannot be bound.

    Raises SystemExit(2) on options that make no sense, after saying which.
    """
    parser = _parser()
    arguments = vars(parser.parse_args(argv))
    host, port = arguments.pop("host"), arguments.pop("port")
    models = arguments.pop("models")
    if models:
        arguments["models"] = tuple(models)
    try:
        options = Options(**arguments)
    except ValueError as error:
        parser.error(str(error))
    try:
        with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
            runner.run(_serve(options, host, port))
    except OSError as error:
        sys.stderr.write(f"simulator: cannot listen on {host}:{port}: {error.strerror or error}\n")
        return 1
    return 0


async def _serve(options: Options, host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(options, host, port) as simulator:
        # The garbage of a request dies by reference counting; frequent passes over everything else are waste.
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)
        sys.stdout.write(f"simulator listening on {simulator.base_url}\n")
        sys.stdout.flush()
        await stop.wait()


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def _parser() -> argparse.ArgumentParser:
    defaults = {f.name: f.default for f in fields(Options) if f.default is not MISSING}
    parser = argparse.ArgumentParser(
        prog="brim-server simulate",
        description="An OpenAI-shaped provider with true rate limits, for tests, demos and benches.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )

    def add(name: str, kind: Callable[[str], Any], text: str, **extra: Any) -> None:
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, dest=name, type=kind, default=defaults[name], help=text, **extra)

    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, required=True, help="0 picks a free one")
    add("rpm", int, "requests per minute; unlimited when absent")
    add("tpm", int, "tokens per minute; unlimited when absent")
    add("shape", str, "how the limits are enforced", choices=get_args(Shape))
    add("bucket_s", float, "shape bucket: seconds of the limit that the bucket holds")
    add("slice_s", float, "shape slices: length of a slice in seconds")
    add("count_prompt", str, "count chat prompts by their JSON or their text", choices=get_args(PromptCount))
    add("default_output_tokens", int, "charged per choice when the request sets no maximum")
    add("latency_ms", float, "time to answer an admitted call")
    add("latency_jitter_ms", float, "added to it, uniform from 0")
    add("parallel", int, "calls served at once without getting slower; any number when absent")
    add("others", float, "share of each limit that other callers of the same key use")
    add("error_rate", float, "share of admitted calls answered 500")
    add("hang_rate", float, "share of admitted calls never answered")
    add("reset_rate", float, "share of admitted calls whose connection is reset")
    add("garbage_rate", float, "share of admitted calls answered with something that is not JSON")
    add("odd_rate", float, "share of admitted calls answered with JSON that holds NUL and lone surrogates")
    add("retry_after", str, "which retry-after headers a 429 carries", choices=get_args(RetryAfterHeaders))
    parser.add_argument(
        "--no-rate-headers",
        dest="rate_headers",
        action="store_false",
        help="leave the x-ratelimit headers out",
    )
    parser.add_argument(
        "--refuse-all",
        dest="refuse_for_s",
        metavar="SECONDS",
        type=float,
        nargs="?",
        const=_FOR_EVER_S,
        default=0.0,
        help="refuse every call for so long from the start; without a number, for ever",
    )
    add("refuse_status", int, "status of those refusals")
    add("refuse_code", str, "error code of those refusals, for example insufficient_quota")
    add("refuse_retry_after_ms", _milliseconds, "what those refusals tell the caller to wait, or 'none'")
    add("api_key", str, "answer 401 to callers without this bearer key")
    parser.add_argument(
        "--model", dest="models", action="append", help="a model that GET /v1/models lists; may be repeated"
    )
    add("batch_s", float, "seconds that a batch of the Batch API takes")
    add("max_body_bytes", int, "answer 413 to larger bodies")
    add("seed", int, "of the draws for faults and jitter")
    return parser


def _milliseconds(text: str) -> int | None:
    return None if text == "none" else int(text)
