"""Every endpoint there is: calls go to the provider, what is free is answered here."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from brim_server.simulator import answers, dialect
from brim_server.simulator.batches import Batches
from brim_server.simulator.dialect import encode
from brim_server.simulator.options import OPTION_NAMES, Options
from brim_server.simulator.provider import METERED, Outcome, Provider, Reply, Request


class Console:
    """Routes by method and path. `connections` tells (open, seen in all) for the figures."""

    def __init__(self, provider: Provider, connections: Callable[[], tuple[int, int]]) -> None:
        self._provider = provider
        self._connections = connections
        self.batches = Batches()
        self._routes: dict[tuple[bytes, str], Callable[[Request, int], Reply]] = {
            (b"GET", "/v1/models"): self._models,
            (b"GET", "/stats"): self._stats,
            (b"POST", "/stats/reset"): self._reset,
            (b"GET", "/calls"): self._calls,
            (b"GET", "/timeline"): self._timeline,
            (b"GET", "/settings"): self._settings,
            (b"POST", "/settings"): self._change,
        }
        self._paths = {path for _, path in self._routes} | {path.decode() for path in METERED}

    def handle(self, request: Request, now_us: int) -> Outcome:
        """Deal with a request that arrived whole at `now_us`: microseconds since 1970, never backwards."""
        if request.path in METERED and request.method == b"POST":
            return self._provider.call(request, now_us)
        path, method = request.path.decode("latin-1"), request.method
        if self.batches.owns(path):
            return self.batches.handle(request, self._provider.options, now_us)
        route = self._routes.get((method, path))
        if route is not None:
            return route(request, now_us)
        if method == b"GET" and path.startswith("/v1/models/"):
            return self._model(unquote(path.removeprefix("/v1/models/")))
        shown = f"{method.decode('latin-1')} {path}"
        if path in self._paths:
            return Reply(405, dialect.invalid_request(f"Not allowed: {shown}"))
        return Reply(404, dialect.invalid_request(f"Invalid URL ({shown})"))

    def _models(self, _request: Request, _now_us: int) -> Reply:
        return Reply(200, answers.model_list(self._provider.options.models))

    def _model(self, name: str) -> Reply:
        if name in self._provider.options.models:
            return Reply(200, answers.model(name))
        return Reply(404, dialect.scripted_error(404, None, None))

    def _stats(self, _request: Request, _now_us: int) -> Reply:
        open_connections, seen = self._connections()
        options = self._provider.options
        more = {
            "connections": {"open": open_connections, "seen": seen},
            "batches_created": self.batches.created,
            "limits": {"rpm": options.rpm, "tpm": options.tpm, "shape": options.shape},
        }
        others = self._provider.others
        if others.admitted or others.refused:
            more["others"] = {"admitted": others.admitted, "refused": others.refused}
        return Reply(200, encode(self._provider.ledger.stats() | more))

    def _reset(self, _request: Request, _now_us: int) -> Reply:
        self._provider.begin_ledger()
        return Reply(200, b"{}")

    def _calls(self, request: Request, _now_us: int) -> Reply:
        since = parse_qs(request.query.decode("latin-1")).get("since", ["0"])[0]
        if not since.isdecimal() or len(since) > 15:
            return Reply(400, dialect.invalid_request("since must be the number of a call", "since"))
        return Reply(200, encode(self._provider.ledger.calls(int(since))))

    def _timeline(self, _request: Request, _now_us: int) -> Reply:
        return Reply(200, encode(self._provider.ledger.timeline()))

    def _settings(self, _request: Request, _now_us: int) -> Reply:
        return Reply(200, encode(_shown(self._provider.options)))

    def _change(self, request: Request, now_us: int) -> Reply:
        try:
            changes = msgspec.json.decode(request.body, type=dict[str, Any])
            for name in changes:
                if name not in OPTION_NAMES:
                    raise ValueError(f"{name} is not a setting")
            options = msgspec.convert(asdict(self._provider.options) | changes, Options)
        except ValueError as error:  # msgspec's errors are ValueErrors
            return Reply(400, dialect.invalid_request(str(error)))
        self._provider.change(options, now_us)
        return Reply(200, encode(_shown(options)))


def _shown(options: Options) -> dict[str, Any]:
    return asdict(replace(options, api_key=None))
