"""Files and batches of files: the client, and `brim batch` and `brim validate` with it."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from brim import AuthenticationError, ConnectionFailed, FileBatches, NotFound
from brim.cli import batch_run
from brim.cli.main import main

from .conftest import FAST
from .fake_files import KEY, FakeFiles
from .test_cli import Outcome

Run = Callable[..., Outcome]


@pytest.fixture
def server() -> Iterator[FakeFiles]:
    with FakeFiles() as fake:
        yield fake


@pytest.fixture
def client(server: FakeFiles) -> Iterator[FileBatches]:
    with FileBatches(server.url, KEY, retry=FAST) as client:
        yield client


@pytest.fixture
def run(server: FakeFiles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("BRIM_URL", server.url)
    monkeypatch.setenv("BRIM_API_KEY", KEY)
    monkeypatch.delenv("BRIM_WORKSPACE", raising=False)
    monkeypatch.setattr(batch_run, "ASK_EVERY_S", 0.001)

    def run(*argv: str, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code: object
        try:
            code = main(argv)
        except SystemExit as usage:
            code = usage.code
        written = capsys.readouterr()
        return Outcome(code, written.out, written.err)

    return run


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_bytes(lines(5))
    return path


def lines(count: int) -> bytes:
    return b"".join(
        json.dumps({"custom_id": f"c{n}", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m"}}).encode()
        + b"\n"
        for n in range(count)
    )


def custom_ids(path: Path) -> list[str]:
    return [json.loads(line)["custom_id"] for line in path.read_bytes().splitlines()]


def test_files_go_up_and_come_down(client: FileBatches, source: Path) -> None:
    stored = client.upload(source)
    assert (stored.filename, stored.bytes, stored.purpose) == ("in.jsonl", source.stat().st_size, "batch")
    assert client.file(stored.id) == stored
    assert b"".join(client.content(stored.id)) == source.read_bytes()
    more = [client.upload(source, purpose="user_data") for _ in range(4)]
    assert [each.id for each in client.files(purpose="user_data")] == [each.id for each in more[::-1]]
    client.delete_file(stored.id)
    with pytest.raises(NotFound, match="No such thing") as caught:
        client.file(stored.id)
    assert caught.value.details == {"param": "id"}


def test_a_broken_download_goes_on_where_it_broke(client: FileBatches, server: FakeFiles, source: Path) -> None:
    stored = client.upload(source)
    server.cut_downloads = 2
    assert b"".join(client.content(stored.id)) == source.read_bytes()
    assert server.ranges == ["", "bytes=10-", "bytes=20-"]


def test_a_wrong_key_is_told_in_the_servers_words(server: FakeFiles) -> None:
    with FileBatches(server.url, "wrong", retry=FAST) as client, pytest.raises(AuthenticationError) as caught:
        client.get("batch_1")
    assert caught.value.code == "invalid_api_key"


def test_a_batch_is_made_once_even_when_its_answer_is_lost(
    client: FileBatches, server: FakeFiles, source: Path
) -> None:
    stored = client.upload(source)
    server.cut_creates = 1
    with pytest.raises(ConnectionFailed):
        client.create(stored.id, "/v1/embeddings", metadata={"mine": "1"})
    assert [batch.metadata for batch in client.batches()] == [{"mine": "1"}]


def test_run_brings_a_file_to_its_end(run: Run, server: FakeFiles, source: Path) -> None:
    output = source.with_name("out.jsonl")
    done = run("batch", "run", str(source), "-o", str(output), "--metadata", "who=me", "--window", "3d")
    assert done.code == 0, done.err
    assert "completed: 5 of 5 completed, 0 failed, 35 + 15 tokens" in done.out
    assert custom_ids(output) == [f"c{n}" for n in range(5)]
    (batch,) = server.batches
    assert (batch["endpoint"], batch["completion_window"]) == ("/v1/embeddings", "3d")
    assert batch["metadata"]["who"] == "me"
    assert sorted(path.name for path in source.parent.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_run_writes_what_failed_beside_the_output(run: Run, server: FakeFiles, source: Path) -> None:
    server.failing = 2
    done = run("batch", "run", str(source))
    assert done.code == 1
    assert custom_ids(source.with_name("in.output.jsonl")) == ["c2", "c3", "c4"]
    assert custom_ids(source.with_name("in.output.errors.jsonl")) == ["c0", "c1"]


def test_run_shows_the_bad_lines_of_a_refused_input(run: Run, server: FakeFiles, source: Path) -> None:
    server.ending = "failed"
    done = run("batch", "run", str(source))
    assert done.code == 1
    assert "  line 2: model_not_found: No such model." in done.out


def test_run_sends_nothing_of_a_file_that_is_bad(run: Run, server: FakeFiles, source: Path) -> None:
    source.write_bytes(lines(2) + b"{}\n")
    done = run("batch", "run", str(source))
    assert (done.code, done.err) == (2, "brim: Line 3: missing or non-string 'custom_id'\n")
    missing = run("batch", "run", str(source.with_name("nothing.jsonl")))
    assert (missing.code, "cannot read" in missing.err) == (2, True)
    assert not server.files


def test_run_goes_on_after_ctrl_c(run: Run, server: FakeFiles, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(batch_run, "_watched", interrupted)
        stopped = run("batch", "run", str(source))
    assert stopped.code == 130
    assert "brim batch cancel batch_1 stops it" in stopped.err
    done = run("batch", "run", str(source))
    assert (done.code, len(server.batches)) == (0, 1)
    assert "going on with batch batch_1" in done.err
    assert sum(each["purpose"] == "batch" for each in server.files.values()) == 1


def test_run_finds_the_batch_whose_id_it_never_learned(run: Run, server: FakeFiles, source: Path) -> None:
    server.cut_creates = 1
    assert run("batch", "run", str(source)).code == 4
    assert run("batch", "run", str(source)).code == 0
    assert len(server.batches) == 1


def test_run_uploads_again_when_the_file_is_gone(
    run: Run, server: FakeFiles, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(FileBatches, "create", interrupted)
        stopped = run("batch", "run", str(source))
    assert (stopped.code, "before the batch was made" in stopped.err) == (130, True)
    server.files.clear()
    assert run("batch", "run", str(source)).code == 0


def test_run_does_not_mix_two_inputs(run: Run, server: FakeFiles, source: Path) -> None:
    server.cut_creates = 1
    run("batch", "run", str(source))
    source.write_bytes(lines(3))
    refused = run("batch", "run", str(source))
    assert (refused.code, "belongs to another run" in refused.err) == (2, True)
    assert run("batch", "run", str(source), "--fresh").code == 0
    state = source.with_name(".in.output.jsonl.brim-run")
    state.write_bytes(b"\0")
    assert run("batch", "run", str(source)).code == 2
    assert run("batch", "run", str(source), "--fresh").code == 0
    assert not state.exists()


def test_cancel_stops_a_batch(run: Run, server: FakeFiles, client: FileBatches, source: Path) -> None:
    batch = client.create(client.upload(source).id, "/v1/embeddings")
    done = run("batch", "cancel", batch.id)
    assert (done.code, done.out) == (0, "batch batch_1: cancelling\n")


def test_validate_needs_no_server(run: Run, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRIM_URL")
    monkeypatch.delenv("BRIM_API_KEY")
    size = source.stat().st_size
    assert run("validate", str(source)).out == f"{source}: valid, 5 lines, {size} bytes\n"
    assert run("validate", "-", "--json", stdin=lines(2)).json == [{"line_count": 2, "bytes": len(lines(2))}]
    over = run("validate", str(source), "--max-lines", "4")
    assert (over.code, over.err) == (2, "brim: File exceeds maximum of 4 lines\n")
    big = run("validate", str(source), "--max-bytes", str(size - 1))
    assert (big.code, big.err) == (2, f"brim: File exceeds maximum size of {size - 1} bytes\n")
    source.write_bytes(b'\n{"custom_id": "a", "body": {"model": "m"}}\n')
    assert run("validate", str(source)).code == 0
    assert run("validate", str(source), "--require-url").err == "brim: Line 2: missing or non-string 'url'\n"
    assert run("validate", str(source), "--require-method").err == "brim: Line 2: missing or non-string 'method'\n"
    assert run("validate", str(source.with_name("no"))).code == 2
