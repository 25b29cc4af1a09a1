"""A provider's own Batch API, as OpenAI and Azure have it: files up, a batch, its state, files down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import aiohttp
import msgspec

from scheduler.domain.batch import Endpoint
from scheduler.providers.call import Account
from scheduler.providers.error_bodies import decoded, problem_in

MARK = "brim"
"""Key of the metadata that tells whose batch one is."""
MOST_LISTED = 500
"""So many of the newest batches are looked through for a mark."""
TIMEOUT_S = 120.0
LONGEST_LINE_BYTES = 64 * 1024 * 1024
_PASSING = frozenset({408, 409, 425, 429})
_FILE_SPOILED = frozenset({"error", "failed", "deleted", "canceled", "cancelled"})
_FILE_READY = frozenset({"processed", "succeeded"})


class BatchApiTrouble(Exception):
    """It cannot be done now: no answer, or one that passes."""


class BatchApiRefusal(Exception):
    """It will be refused again; the text is the provider's."""


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """A batch at the provider. status: its word. problem: why it failed, if it says so."""

    ref: str
    status: str
    output_file: str | None
    error_file: str | None
    problem: str | None

    @property
    def ended(self) -> bool:
        """Nothing will change any more."""
        return self.status in ("completed", "failed", "expired", "cancelled")


class RemoteLine(msgspec.Struct):
    """One line of a result file."""

    custom_id: str
    response: RemoteResponse | None = None
    error: RemoteError | None = None


class RemoteResponse(msgspec.Struct):
    """An answer; its body as it came."""

    status_code: int
    body: msgspec.Raw
    request_id: str | None = None


class RemoteError(msgspec.Struct):
    """Why there is no answer."""

    code: str | None = None
    message: str | None = None


_LINES = msgspec.json.Decoder(RemoteLine)
_NOTHING: Mapping[str, str] = {}


class BatchApi:
    """Calls over one session, which follow no redirects. Every method raises BatchApiTrouble and BatchApiRefusal."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)

    async def upload(self, account: Account, lines: IO[bytes]) -> str:
        """Upload an input file; its id there."""
        form = aiohttp.FormData()
        form.add_field("purpose", "batch")
        form.add_field("file", lines, filename="brim.jsonl", content_type="application/jsonl")
        return str((await self._json("POST", account, "/files", data=form))["id"])

    async def is_ready(self, account: Account, file_ref: str) -> bool:
        """Whether a batch may be made of an uploaded file: Azure looks at it first, for minutes."""
        if not account.address.azure:
            return True
        status = str((await self._json("GET", account, f"/files/{file_ref}")).get("status")).lower()
        if status in _FILE_SPOILED:
            raise BatchApiRefusal(f"The provider could not use the file: {status}.")
        return status in _FILE_READY

    async def create(self, account: Account, file_ref: str, endpoint: Endpoint, mark: str) -> RemoteBatch:
        """Ask for a batch that carries `mark`."""
        wanted = {
            "input_file_id": file_ref,
            "endpoint": account.address.batch_endpoint_of(endpoint),
            "completion_window": "24h",
            "metadata": {MARK: mark},
        }
        return _batch_of(await self._json("POST", account, "/batches", json=wanted))

    async def find(self, account: Account, mark: str) -> RemoteBatch | None:
        """The batch that carries `mark`, among the newest; of several the oldest."""
        found, after, seen = None, None, 0
        while seen < MOST_LISTED:
            asked = {"limit": "100"} | ({"after": str(after)} if after else {})
            page = await self._json("GET", account, "/batches", asked)
            listed = [each for each in page.get("data") or [] if isinstance(each, dict)]
            for each in listed:
                if (each.get("metadata") or {}).get(MARK) == mark:
                    found = _batch_of(each)
            seen += len(listed)
            if not page.get("has_more") or not listed:
                break
            after = listed[-1].get("id")
        return found

    async def get(self, account: Account, batch_ref: str) -> RemoteBatch:
        """How it stands."""
        return _batch_of(await self._json("GET", account, f"/batches/{batch_ref}"))

    async def cancel(self, account: Account, batch_ref: str) -> None:
        """Stop it."""
        await self._json("POST", account, f"/batches/{batch_ref}/cancel")

    async def lines(self, account: Account, file_ref: str) -> AsyncIterator[RemoteLine]:
        """The lines of a result file, in bounded memory; what is no such line is left out."""
        try:
            async with self._session.get(
                account.address.batch_url_of(f"/files/{file_ref}/content"),
                headers=_headers(account),
                timeout=self._timeout,
            ) as answer:
                if answer.status != 200:
                    await self._refuse(answer)
                rest = b""
                async for piece in answer.content.iter_any():
                    *whole, rest = (rest + piece).split(b"\n")
                    if len(rest) > LONGEST_LINE_BYTES:
                        raise BatchApiRefusal("A line of the results is too long.")
                    for line in whole:
                        if (found := _line_of(line)) is not None:
                            yield found
                if (found := _line_of(rest)) is not None:
                    yield found
        except (aiohttp.ClientError, OSError) as problem:
            raise BatchApiTrouble("The provider does not answer.") from problem

    async def _json(
        self, method: str, account: Account, path: str, asked: Mapping[str, str] = _NOTHING, **more: Any
    ) -> dict[str, Any]:
        try:
            async with self._session.request(
                method,
                account.address.batch_url_of(path, **asked),
                headers=_headers(account, plain="json" in more),
                timeout=self._timeout,
                allow_redirects=False,
                **more,
            ) as answer:
                if answer.status >= 300:
                    await self._refuse(answer)
                body = decoded(await answer.read())
        except (aiohttp.ClientError, OSError) as problem:
            raise BatchApiTrouble("The provider does not answer.") from problem
        if not isinstance(body, dict):
            raise BatchApiTrouble("The provider's answer is no JSON object.")
        return body

    async def _refuse(self, answer: aiohttp.ClientResponse) -> None:
        words = problem_in(await answer.read()).message or f"The provider answered {answer.status}."
        if answer.status >= 500 or answer.status in _PASSING:
            raise BatchApiTrouble(words)
        if answer.status in (401, 403):
            words = f"The provider refused the key ({answer.status})."  # its own words may quote a part of it
        raise BatchApiRefusal(words)


def _headers(account: Account, *, plain: bool = False) -> dict[str, str]:
    """The connection's, but for the content type, which a form brings itself."""
    return {name: value for name, value in account.headers.items() if plain or name.lower() != "content-type"}


def _batch_of(given: dict[str, Any]) -> RemoteBatch:
    ref, status = given.get("id"), given.get("status")
    if not isinstance(ref, str) or not isinstance(status, str):
        raise BatchApiTrouble("The provider's answer is no batch.")
    output, errors = given.get("output_file_id"), given.get("error_file_id")
    faults = given.get("errors")
    first = (faults.get("data") or [None])[0] if isinstance(faults, dict) else None
    problem = first.get("message") if isinstance(first, dict) else None
    return RemoteBatch(
        ref,
        status,
        output if isinstance(output, str) and output else None,
        errors if isinstance(errors, str) and errors else None,
        problem if isinstance(problem, str) else None,
    )


def _line_of(line: bytes) -> RemoteLine | None:
    if not line.strip():
        return None
    try:
        return _LINES.decode(line)
    except msgspec.DecodeError:
        return None
