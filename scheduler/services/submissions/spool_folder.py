"""A batch as a folder: `input.jsonl`, `output.jsonl`, `errors.jsonl`, `status.json`, whole at every moment.

`.written.json` says how far the results are written; what lies beyond it in them, a torn line say, is cut off when the
folder is opened again. `.lock` is held by its one writer for as long as that process lives. All of it blocks: call it
in threads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec
from msgspec import Struct

from scheduler.domain.errors import Conflict, Unavailable
from scheduler.domain.submission import PartFile, Written
from scheduler.services.files.part_file import Part

INPUT, OUTPUT, ERRORS, STATUS = "input.jsonl", "output.jsonl", "errors.jsonl", "status.json"
_WRITTEN, _LOCK = ".written.json", ".lock"
_encoder = msgspec.json.Encoder()


class SpoolStatus(Struct, frozen=True, kw_only=True):
    """What `status.json` says. completed_lines: processed ones, failed ones included; failed: at least one failed.
    Times are Unix seconds."""

    id: str
    endpoint: str
    status: Literal["pending", "in_progress", "completed", "failed", "cancelled"]
    total_lines: int
    completed_lines: int
    failed_lines: int
    created_at: int
    updated_at: int
    cancel_requested: bool

    @property
    def is_final(self) -> bool:
        """Nothing more will be written."""
        return self.status not in ("pending", "in_progress")


_status = msgspec.json.Decoder(SpoolStatus)
_written = msgspec.json.Decoder(Written)


class SpoolFolder:
    """One batch's folder, with its one writer: this object, until `close`."""

    def __init__(self, path: Path, lock: int) -> None:
        """Use `create` or `reopen`."""
        self._path = path
        self._lock = lock
        self._output = Part(path / OUTPUT)
        self._errors = Part(path / ERRORS)
        self.written = Written()

    @classmethod
    def create(cls, path: Path) -> SpoolFolder:
        """A new folder. Raises Conflict ALREADY_EXISTS, having touched nothing, when there is something of this name;
        Unavailable when the disk refuses."""
        with _told():
            try:
                path.mkdir(mode=0o700, parents=True)
            except FileExistsError:
                raise Conflict(f"There is something named {path.name} already.", code="ALREADY_EXISTS") from None
            _sync_folder(path.parent)
        opened = cls.reopen(path)
        if opened is None:
            raise Conflict(f"{path.name} is being written by another process.", code="ALREADY_EXISTS")
        return opened

    @classmethod
    def reopen(cls, path: Path) -> SpoolFolder | None:
        """Go on with a folder, its files cut back to what is known to be whole. None: another process writes it."""
        with _told():
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                return None
        folder = cls(path, lock)
        try:
            folder._repair()
        except BaseException:
            folder.close()
            raise
        return folder

    @property
    def has_input(self) -> bool:
        """Whether `input.jsonl` is there; then it is whole."""
        return (self._path / INPUT).exists()

    def begin_input(self) -> BinaryIO:
        """A draft of `input.jsonl`, which `end_input` puts in its place; the caller writes it (in threads)."""
        with _told():
            return (self._path / f".{INPUT}.part").open("wb")

    def end_input(self, draft: BinaryIO) -> None:
        """It is whole: now it appears."""
        with _told():
            draft.flush()
            os.fsync(draft.fileno())
            draft.close()
            (self._path / f".{INPUT}.part").replace(self._path / INPUT)
            _sync_folder(self._path)

    def append(self, written: Written, output: list[bytes], errors: list[bytes]) -> None:
        """Append lines behind what is written, and note it. written: with `told_event` and `usage` as they are then.
        After a failure `reopen` before the next one."""
        following = Written(
            told_event=written.told_event,
            output=self._output.append(self.written.output, output),
            errors=self._errors.append(self.written.errors, errors),
            usage=written.usage,
        )
        self._replace(_WRITTEN, _encoder.encode(following))
        self.written = following

    def tell(self, status: SpoolStatus) -> bool:
        """Replace `status.json`, unless it says the same already, whenever that was; whether it was replaced."""
        known = read_status(self._path)
        if known is not None and msgspec.structs.replace(known, updated_at=status.updated_at) == status:
            return False
        self._replace(STATUS, _encoder.encode(status) + b"\n")
        return True

    def close(self) -> None:
        """Let go of it; safe to repeat."""
        self._output.close()
        self._errors.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _repair(self) -> None:
        try:
            known = _written.decode((self._path / _WRITTEN).read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            known = Written()
        if not (self._output.begin(known.output) and self._errors.begin(known.errors)):
            # What it should hold follows from the record in the database: written anew, it becomes the same again.
            known = Written()
            self._output.begin(PartFile())
            self._errors.begin(PartFile())
        self.written = known

    def _replace(self, name: str, content: bytes) -> None:
        """A reader sees the old file or the new one, never half of one."""
        draft = self._path / f".{name}.part"
        with _told():
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path / name)
            _sync_folder(self._path)


def read_status(path: Path) -> SpoolStatus | None:
    """What a folder's `status.json` says; None when there is none that can be read."""
    try:
        return _status.decode((path / STATUS).read_bytes())
    except (OSError, msgspec.DecodeError):
        return None


def unfinished(root: Path) -> Iterable[str]:
    """The names of the folders below `root` whose batches have not ended, as far as they tell."""
    with _told():
        names = (
            [entry.name for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False)] if root.is_dir() else []
        )
    for name in names:
        status = read_status(root / name)
        if (root / name / _LOCK).exists() and (status is None or not status.is_final):
            yield name


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"The spool cannot be written ({error.strerror}).", retry_after_s=5) from error


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
