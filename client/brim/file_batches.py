"""Batches handed over as files, over the same API that OpenAI's own client speaks; only the key is needed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from .answers import raise_refusal, read_answer
from .endpoints import Call, quoted
from .errors import BrimError, ConnectionFailed, UnexpectedAnswer
from .file_records import FileBatch, StoredFile
from .retrying import RetryPolicy, Tries
from .settings import address
from .submission import encode
from .transport import DEFAULT_TIMEOUT_S, bearer, mapped, request, timeout
from .wire import list_of

_T = TypeVar("_T")
_MOST_RESUMES = 20
"""Of one download, in a row without a new byte."""


class FileBatches:
    """Files and batches of files. Use it as a context manager, or call `close`.

    base_url and api_key come from BRIM_URL and BRIM_API_KEY when they are not given; the key says whose files and
    batches they are. Raises the errors drawn in `brim.errors`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retry: RetryPolicy | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.base_url, key = address(base_url, api_key)
        self._policy = retry or RetryPolicy()
        self._http = httpx.Client(
            base_url=self.base_url, headers=bearer(key), timeout=timeout(timeout_s), transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Batches run on."""
        self._http.close()

    def upload(
        self, path: str | os.PathLike[str], *, purpose: str = "batch", expires_after_s: int | None = None
    ) -> StoredFile:
        """Upload a file, streamed. After a broken connection it is sent again: the content is stored once all the same,
        though a file that nobody knows of may stay behind until it expires."""
        fields = {"purpose": purpose}
        if expires_after_s is not None:
            fields |= {"expires_after[anchor]": "created_at", "expires_after[seconds]": str(expires_after_s)}

        def send() -> httpx.Response:
            with open(path, "rb") as file:
                return self._http.post("/v1/files", data=fields, files={"file": (Path(path).name, file)})

        return self._tried(send, Call("POST", "/v1/files", StoredFile.from_wire))

    def file(self, file_id: str) -> StoredFile:
        """What is known of a file."""
        return self._send(Call("GET", f"/v1/files/{quoted(file_id)}", StoredFile.from_wire))

    def files(self, *, purpose: str | None = None) -> Iterator[StoredFile]:
        """All files, newest first, fetched page by page as they are consumed."""
        params = {"limit": "1000"} | ({} if purpose is None else {"purpose": purpose})
        return self._pages("/v1/files", params, StoredFile.from_wire)

    def delete_file(self, file_id: str) -> None:
        """Delete a file."""
        self._send(Call("DELETE", f"/v1/files/{quoted(file_id)}", lambda _: None, repeatable=False))

    def content(self, file_id: str) -> Iterator[bytes]:
        """The bytes of a file in pieces; a broken connection is resumed where it broke."""
        path, got, failures = f"/v1/files/{quoted(file_id)}/content", 0, 0
        while True:
            # Whole pieces would be lost with the connection, and parts of a packed body are of no use.
            headers = {"accept-encoding": "identity"} | ({"range": f"bytes={got}-"} if got else {})
            try:
                with mapped(self.base_url), self._http.stream("GET", path, headers=headers) as response:
                    if not response.is_success:
                        response.read()
                        raise_refusal(response)
                    if got and response.status_code != 206:
                        raise UnexpectedAnswer("the server does not resume downloads")
                    for piece in response.iter_bytes():
                        got, failures = got + len(piece), 0
                        yield piece
                    return
            except ConnectionFailed as error:
                failures += 1
                if failures > _MOST_RESUMES:
                    raise
                pause_s = self._policy.pause_s(failures, error)
            time.sleep(pause_s)

    def create(
        self,
        input_file_id: str,
        endpoint: str,
        *,
        completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        **more: Any,
    ) -> FileBatch:
        """Make a batch of an uploaded file. more: further fields of the server (`priority`, `webhook_url`). Sent once:
        after a ConnectionFailed it cannot be told whether it was made; look for your metadata among `batches`."""
        body: dict[str, Any] = {
            "input_file_id": input_file_id,
            "endpoint": endpoint,
            "completion_window": completion_window,
            **more,
        }
        if metadata is not None:
            body["metadata"] = dict(metadata)
        headers = {"content-type": "application/json"}
        call = Call("POST", "/v1/batches", FileBatch.from_wire, headers=headers, body=encode(body), repeatable=False)
        return self._send(call)

    def get(self, batch_id: str) -> FileBatch:
        """A batch as it is now."""
        return self._send(Call("GET", f"/v1/batches/{quoted(batch_id)}", FileBatch.from_wire))

    def cancel(self, batch_id: str) -> FileBatch:
        """Stop a batch: what is finished is kept. Conflict when it ended otherwise."""
        return self._send(Call("POST", f"/v1/batches/{quoted(batch_id)}/cancel", FileBatch.from_wire))

    def batches(self) -> Iterator[FileBatch]:
        """All batches, newest first, fetched page by page as they are consumed."""
        return self._pages("/v1/batches", {"limit": "100"}, FileBatch.from_wire)

    def _pages(self, path: str, params: Mapping[str, str], read: Callable[[Any], _T]) -> Iterator[_T]:
        after: dict[str, str] = {}
        while True:
            found, more = self._send(Call("GET", path, _page, params={**params, **after}))
            yield from map(read, found)
            if not more or not found:
                return
            after = {"after": str(found[-1]["id"])}

    def _send(self, call: Call[_T]) -> _T:
        return self._tried(lambda: self._http.send(request(self._http, call)), call)

    def _tried(self, send: Callable[[], httpx.Response], call: Call[_T]) -> _T:
        tries = Tries(self._policy, repeatable=call.repeatable)
        while True:
            try:
                with mapped(self.base_url):
                    return read_answer(call, send())
            except BrimError as error:
                pause_s = tries.pause_s_after(error)
            time.sleep(pause_s)


def _page(raw: Any) -> tuple[list[Any], bool]:
    """The objects of a page, and whether more follow."""
    return list_of(raw, "objects"), bool(raw.get("has_more"))
