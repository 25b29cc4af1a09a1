"""The Batch API of the simulated provider, as OpenAI has it, and as Azure has it under `/openai/…?api-version=`: files,
batches that take `batch_s`, results; no limits."""

import itertools
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from brim_server.simulator import answers, dialect
from brim_server.simulator.bodies import charge_of, seed_of
from brim_server.simulator.dialect import encode
from brim_server.simulator.options import Options
from brim_server.simulator.provider import METERED, Reply, Request
from brim_server.simulator.script import script_of

_FILES: Final = "/v1/files"
_BATCHES: Final = "/v1/batches"
_AZURE: Final = "/openai/"


class Line(msgspec.Struct):
    """One line of an input file."""

    custom_id: str
    url: str
    body: msgspec.Raw


class Batches:
    """Files and batches of one account. `created` counts the batches that were ever asked for."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, dict[str, Any]] = {}
        self._unseen: set[str] = set()
        self._numbers = itertools.count(1)

    @property
    def created(self) -> int:
        """Batches that were ever asked for."""
        return len(self._batches)

    def owns(self, path: str) -> bool:
        """Tell whether a path belongs to this face."""
        path = path.replace(_AZURE, "/v1/", 1) if path.startswith(_AZURE) else path
        return path in (_FILES, _BATCHES) or path.startswith((_FILES + "/", _BATCHES + "/"))

    def handle(self, request: Request, options: Options, now_us: int) -> Reply:
        """Deal with a request for such a path."""
        if options.api_key is not None and request.authorization != b"Bearer " + options.api_key.encode():
            return Reply(401, dialect.scripted_error(401, None, None))
        path = request.path.decode("latin-1")
        azure = path.startswith(_AZURE)
        if azure and "api-version" not in parse_qs(request.query.decode("latin-1")):
            return Reply(404, dialect.invalid_request("Resource not found"))
        parts = path.split("/")[2:]
        if parts[0] == "files":
            answer = self._of_files(request, parts[1:], azure=azure)
        else:
            answer = self._of_batches(request, parts[1:], options, now_us, azure=azure)
        return answer or Reply(404, dialect.invalid_request(f"No such object: {path}"))

    def _of_files(self, request: Request, parts: list[str], *, azure: bool) -> Reply | None:
        match request.method, parts:
            case b"POST", []:
                return self._upload(request.body, azure=azure)
            case b"GET", [name] if name in self._files:
                return Reply(200, encode(self._file(name)))
            case b"GET", [name, "content"] if name in self._files:
                return Reply(200, self._files[name])
            case _:
                return None

    def _of_batches(
        self, request: Request, parts: list[str], options: Options, now_us: int, *, azure: bool
    ) -> Reply | None:
        match request.method, parts:
            case b"POST", []:
                return self._create(request.body, now_us, azure=azure)
            case b"GET", []:
                return self._list(request.query, options, now_us)
            case b"GET", [name] if name in self._batches:
                return Reply(200, encode(self._at(name, options, now_us)))
            case b"POST", [name, "cancel"] if name in self._batches:
                batch = self._at(name, options, now_us)
                if batch["status"] == "in_progress":
                    batch |= {"status": "cancelled", "cancelled_at": now_us // 1_000_000}
                return Reply(200, encode(batch))
            case _:
                return None

    def _upload(self, body: bytes, *, azure: bool) -> Reply:
        boundary, _, rest = body.partition(b"\r\n")
        for part in rest.split(b"\r\n" + boundary):
            head, _, content = part.partition(b"\r\n\r\n")
            if b'name="file"' in head:
                name = self._keep(content)
                if azure:
                    self._unseen.add(name)
                return Reply(200, encode({"id": name, "object": "file", "status": "pending" if azure else "processed"}))
        return Reply(400, dialect.invalid_request("file is required", "file"))

    def _file(self, name: str) -> dict[str, Any]:
        """A file as it stands: Azure's is processed when it is looked at for the second time."""
        status = "pending" if name in self._unseen else "processed"
        self._unseen.discard(name)
        return {"id": name, "object": "file", "status": status}

    def _keep(self, content: bytes) -> str:
        name = f"file-sim{next(self._numbers)}"
        self._files[name] = content
        return name

    def _create(self, body: bytes, now_us: int, *, azure: bool) -> Reply:
        wanted = msgspec.json.decode(body)
        if wanted.get("input_file_id") not in self._files:
            return Reply(400, dialect.invalid_request("No such file", "input_file_id"))
        if wanted["input_file_id"] in self._unseen:
            return Reply(400, dialect.invalid_request("The file is not processed yet", "input_file_id"))
        if str(wanted.get("endpoint")).startswith("/v1/") == azure:
            return Reply(400, dialect.invalid_request("Unsupported endpoint", "endpoint"))
        name = f"batch_sim{next(self._numbers)}"
        self._batches[name] = {
            "id": name,
            "object": "batch",
            "endpoint": wanted.get("endpoint"),
            "input_file_id": wanted["input_file_id"],
            "root": "/v1" if azure else "",
            "metadata": wanted.get("metadata"),
            "status": "in_progress",
            "created_at": now_us // 1_000_000,
            "created_us": now_us,
            "output_file_id": None,
            "error_file_id": None,
            "errors": None,
        }
        return Reply(200, encode(self._batches[name]))

    def _list(self, query: bytes, options: Options, now_us: int) -> Reply:
        asked = parse_qs(query.decode("latin-1"))
        names = list(reversed(self._batches))
        if after := asked.get("after"):
            names = names[names.index(after[0]) + 1 :] if after[0] in names else []
        most = int(asked.get("limit", ["20"])[0])
        data = [self._at(name, options, now_us) for name in names[:most]]
        return Reply(200, encode({"object": "list", "data": data, "has_more": len(names) > most}))

    def _at(self, name: str, options: Options, now_us: int) -> dict[str, Any]:
        """A batch as it stands now; it ends when somebody looks after its time."""
        batch = self._batches[name]
        if batch["status"] == "in_progress" and now_us - batch["created_us"] >= options.batch_s * 1_000_000:
            self._complete(batch, options)
        return batch

    def _complete(self, batch: dict[str, Any], options: Options) -> None:
        results: dict[str, list[bytes]] = {"output_file_id": [], "error_file_id": []}
        for line in self._files[batch["input_file_id"]].splitlines():
            custom_id, status, answer = _answered(line, batch["root"], options)
            told = {
                "id": f"batch_req_{custom_id}",
                "custom_id": custom_id,
                "response": {"status_code": status, "request_id": f"req_{custom_id}", "body": msgspec.Raw(answer)},
                "error": None,
            }
            results["output_file_id" if status == 200 else "error_file_id"].append(msgspec.json.encode(told))
        for kind, lines in results.items():
            batch[kind] = self._keep(b"\n".join(lines) + b"\n") if lines else None
        batch["status"] = "completed"


def _answered(line: bytes, root: str, options: Options) -> tuple[str, int, bytes]:
    """root: what the line's URL lacks."""
    wanted = msgspec.json.decode(line, type=Line)
    try:
        body = METERED[(root + wanted.url).encode()].decode(wanted.body)
        script = script_of(body.brim_sim, body.metadata, b"")
        charge, seed = charge_of(body, options), seed_of(bytes(wanted.body))
    except (ValueError, OverflowError, KeyError) as error:
        return wanted.custom_id, 400, dialect.invalid_request(str(error))
    if script is not None and script.status is not None:
        return wanted.custom_id, script.status, dialect.scripted_error(script.status, script.code, script.message)
    return wanted.custom_id, 200, answers.answer(body, charge, seed, None)
