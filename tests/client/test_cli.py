"""The command `brim`, run in this process against the fake server."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from brim import Client, Event, RetryPolicy
from brim.cli import watching
from brim.cli.main import main

from .conftest import FAST
from .fake_brim import ENVIRONMENT, KEY, WORKSPACE, FakeBrim


@dataclass
class Outcome:
    """What a run of the command left."""

    code: object
    out: str
    err: str

    @property
    def json(self) -> list[Any]:
        return [json.loads(line) for line in self.out.split("\n") if line]


Brim = Callable[..., Outcome]


@pytest.fixture
def run(brim: FakeBrim, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Brim:
    monkeypatch.setenv("BRIM_URL", brim.url)
    monkeypatch.setenv("BRIM_API_KEY", KEY)
    monkeypatch.setenv("BRIM_WORKSPACE", WORKSPACE)
    monkeypatch.setenv("BRIM_ENVIRONMENT", ENVIRONMENT)
    monkeypatch.setattr("brim.client.RetryPolicy", lambda: FAST)
    monkeypatch.setattr(watching, "_ASK_EVERY_S", 0.001)

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


def bodies(count: int) -> bytes:
    return b"".join(
        json.dumps({"messages": [{"role": "user", "content": str(n)}]}).encode() + b"\n" for n in range(count)
    )


@pytest.fixture
def questions(tmp_path: Path) -> str:
    path = tmp_path / "questions.jsonl"
    path.write_bytes(bodies(5))
    return str(path)


def test_submit_hands_in_bare_bodies_and_says_how_to_go_on(brim: FakeBrim, run: Brim, questions: str) -> None:
    done = run("submit", questions, "--resource", "gpt")
    (batch_id,) = brim.batches
    assert done.code == 0
    assert done.out == f"batch {batch_id}: 5 items, COMPLETED\nwatch it with: brim watch {batch_id}\n"
    body = brim.requests[-1][3]
    assert body["type"] == "ASYNC"
    assert body["items"][4] == {
        "resourceId": "gpt",
        "request": {"messages": [{"role": "user", "content": "4"}]},
        "endpoint": "/v1/chat/completions",
    }


def test_submit_takes_openai_lines_from_stdin_with_all_options(
    brim: FakeBrim, run: Brim, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": "x"}}
    monkeypatch.setenv("HOOK_SECRET", "whsec")
    done = run(
        *(
            "submit",
            "-",
            "--resource",
            "r",
            "--json",
            "--priority",
            "high",
            "--capacity",
            "600rpm/60ktpm/5rps",
        ),
        *("--max-in-flight", "7", "--deadline", "2026-12-01T00:00:00Z", "--idempotency-key", "k"),
        *("--callback-url", "https://example.org", "--callback-event", "batch_update"),
        *("--callback-secret-env", "HOOK_SECRET"),
        stdin=json.dumps(line).encode() + b"\n\n" + bodies(1),
    )
    assert done.code == 0
    assert [batch["batchId"] for batch in done.json] == list(brim.batches)
    _, _, headers, body = brim.requests[-1]
    assert headers["idempotency-key"] == "k"
    assert body == {
        "type": "CALLBACK",
        "items": [
            {
                "resourceId": "r",
                "request": {"model": "m", "input": "x"},
                "endpoint": "/v1/embeddings",
                "customId": "a",
            },
            {
                "resourceId": "r",
                "request": {"messages": [{"role": "user", "content": "0"}]},
                "endpoint": "/v1/chat/completions",
            },
        ],
        "capacity": [
            {"period": "MINUTE", "requests": 600, "tokens": 60_000},
            {"period": "SECOND", "requests": 5},
        ],
        "maxInFlight": 7,
        "priority": "high",
        "deadline": "2026-12-01T00:00:00Z",
        "callbackOptions": {"url": "https://example.org", "events": ["batch_update"], "secret": "whsec"},
    }


def test_all_bad_lines_are_listed_and_nothing_is_sent(brim: FakeBrim, run: Brim) -> None:
    lines = [
        b'{"messages": [1]}',
        b"{",
        b"",
        b"[]",
        b'{"messages": []}',
        b'{"body": 3}',
        b'{"custom_id": "a", "body": {"messages": [1]}}',
        b'{"custom_id": "a", "body": {"messages": [1]}}',
        b'{"url": "/v1/files", "body": {"messages": [1]}}',
        b'{"method": "GET", "body": {"messages": [1]}}',
        b'{"custom_id": 5, "body": {"messages": [1]}}',
    ]
    done = run("submit", "-", "--resource", "r", stdin=b"\n".join(lines))
    assert done.code == 2
    assert done.out == ""
    assert re.findall(r"^  line (\d+): (.{12})", done.err, re.MULTILINE) == [
        ("2", "invalid JSON"),
        ("4", "expected a J"),
        ("5", "messages is "),
        ("6", "body must be"),
        ("8", "custom_id 'a"),
        ("9", "url must be "),
        ("10", "method must "),
        ("11", "custom_id mu"),
    ]
    assert done.err.startswith("brim: stdin: 8 bad lines; nothing was sent\n")
    assert brim.requests == []


@pytest.mark.parametrize("stdin", [b"", b"\n\n"])
def test_a_file_without_requests_is_bad_input(run: Brim, stdin: bytes) -> None:
    done = run("submit", "-", "--resource", "r", stdin=stdin)
    assert (done.code, "holds no request" in done.err) == (2, True)


def test_many_bad_lines_are_counted(run: Brim) -> None:
    done = run("submit", "-", "--resource", "r", stdin=b"x\n" * 50)
    assert "50 bad lines" in done.err
    assert done.err.endswith("  and 30 more\n")


def test_the_servers_faults_are_told_by_line(brim: FakeBrim, run: Brim) -> None:
    details = {"errors": [{"index": 1, "field": "request.messages", "message": "too long"}]}
    brim.faults.refuse = [(422, {"errorCode": "VALIDATION_ERROR", "errorMessage": "bad items", "details": details}, {})]
    done = run("submit", "-", "--resource", "r", stdin=b"\n" + bodies(1) + b"\n" + bodies(1))
    assert done.code == 3
    assert done.err == "brim: VALIDATION_ERROR: bad items\n  line 4: request.messages: too long\n"


def test_submit_can_wait_and_fetch(brim: FakeBrim, run: Brim, questions: str, tmp_path: Path) -> None:
    brim.final_after_reads = 3
    amount = {"limit": 60, "used": 18, "headroom": 42}
    brim.headroom["gpt"] = {"limits": [{"period": "MINUTE", "requests": amount, "tokens": None}]}
    output = tmp_path / "answers.jsonl"
    done = run("submit", questions, "--resource", "gpt", "--wait", "-o", str(output))
    assert done.code == 0
    first, *_, last, where = done.out.splitlines()
    assert first.startswith("RUNNING 2/5 40.0%")
    assert "headroom 42 requests" in first
    assert last.startswith("COMPLETED: 5 of 5 completed")
    assert where == f"results: {output}"
    lines = output.read_text(encoding="utf-8").split("\n")[:-1]
    answers = [json.loads(line)["request"]["messages"][0]["content"] for line in lines]
    assert answers == ["0", "1", "2", "3", "4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.jsonl", "questions.jsonl"]


@pytest.mark.parametrize("more", [("--type", "sync"), ("--wait",)])
def test_machines_get_each_event_as_a_line(brim: FakeBrim, run: Brim, questions: str, more: tuple[str, ...]) -> None:
    brim.faults.cut_streams = 2
    done = run("submit", questions, "--resource", "r", "--json", *more)
    (batch_id,) = brim.batches
    assert done.code == 0
    assert done.err == ""
    seen = [(event["id"], event["action"]) for event in done.json if event["id"] is not None]
    assert seen == [(number, action) for number, action, _ in brim.history(batch_id) if number is not None]
    assert done.json[-1]["payload"]["batchId"] == batch_id


def test_a_sync_batch_is_counted_from_its_events(brim: FakeBrim, run: Brim, questions: str) -> None:
    brim.fail_items = {2}
    done = run("submit", questions, "--resource", "r", "--type", "SYNC")
    (batch_id,) = brim.batches
    assert done.code == 1
    assert "FAILED 5/5 100.0%" in done.out
    assert "FAILED: 4 of 5 completed, 1 failed" in done.out
    assert f"brim results {batch_id} --status FAILED" in done.out


@pytest.mark.parametrize("failed", [False, True])
def test_watch_ends_with_the_batch_and_says_how(brim: FakeBrim, run: Brim, failed: bool) -> None:
    brim.fail_items = {0} if failed else set()
    batch_id = brim.add_batch(4)
    brim.final_after_reads = 4
    done = run("watch", batch_id)
    assert done.code == (1 if failed else 0)
    assert done.out.splitlines()[-1 - failed].startswith("results: ")


def test_watch_survives_a_server_that_is_away_for_a_while(brim: FakeBrim, run: Brim) -> None:
    batch_id = brim.add_batch(4)
    brim.final_after_reads = 3
    answer = {"errorCode": "UNAVAILABLE", "errorMessage": "a store is down"}

    class Reads(dict[str, int]):
        def __setitem__(self, key: str, value: int) -> None:
            super().__setitem__(key, value)
            if value == 2:
                brim.faults.refuse = [(503, answer, {})] * (FAST.attempts * 3)

    brim.reads = Reads()
    done = run("watch", batch_id)
    assert done.code == 0
    assert "no news, trying again: UNAVAILABLE: a store is down" in done.err


def test_watch_for_machines_starts_after_a_given_event(brim: FakeBrim, run: Brim) -> None:
    done = run("watch", brim.add_batch(4), "--json", "--last-event-id", "4")
    assert [event["id"] for event in done.json] == [5, 6]


@pytest.mark.parametrize("machine", [False, True])
def test_ctrl_c_leaves_the_batch_running_and_says_how_to_go_on(
    brim: FakeBrim, run: Brim, monkeypatch: pytest.MonkeyPatch, machine: bool
) -> None:
    batch_id = brim.add_batch(4)
    brim.final_after_reads = 1_000

    def interrupted(self: Client, *_: object) -> Iterator[Event]:
        yield next(stream(self, batch_id))
        raise KeyboardInterrupt

    def press(_: float) -> None:
        raise KeyboardInterrupt

    stream = Client.stream
    monkeypatch.setattr(Client, "stream", interrupted)
    monkeypatch.setattr("brim.cli.watching.time.sleep", press)
    done = run("watch", batch_id, *(["--json"] if machine else []))
    again = f"brim watch {batch_id}" + (" --json --last-event-id 1" if machine else "")
    assert done.code == 130
    assert done.err == (
        f"brim: interrupted; the batch runs on. Go on with: {again}   stop it with: brim cancel {batch_id}\n"
    )
    assert brim.paths("POST") == []


def test_get_shows_a_batch_and_its_items(brim: FakeBrim, run: Brim) -> None:
    brim.fail_items = {1}
    batch_id = brim.add_batch(3)
    shown = run("get", batch_id, "--items")
    assert shown.code == 0
    assert batch_id in shown.out
    assert "FAILED: 2 of 3 completed, 1 failed" in shown.out
    assert "UPSTREAM: the provider said no" in shown.out
    (raw,) = run("get", batch_id, "--items", "--json").json
    assert len(raw["items"]) == 3
    assert "items" not in run("get", batch_id, "--json").json[0]


def test_list_shows_the_newest(brim: FakeBrim, run: Brim) -> None:
    ids = [brim.add_batch(1) for _ in range(5)]
    assert [raw["batchId"] for raw in run("list", "--limit", "3", "--json").json] == ids[:1:-1]
    table = run("list").out
    assert all(batch_id in table for batch_id in ids)
    assert run("list", "--status", "failed").out == "no batches\n"


def test_results_are_json_lines_on_stdout_or_in_a_file(brim: FakeBrim, run: Brim, tmp_path: Path) -> None:
    brim.fail_items = {1}
    batch_id = brim.add_batch(3)
    brim.final_after_reads = 2
    done = run("results", batch_id)
    assert [item["customId"] for item in done.json] == ["c0", "c1", "c2"]
    assert done.err == "brim: the batch is RUNNING: 1 of 3 items had ended\n"
    target = tmp_path / "out.jsonl"
    assert run("results", batch_id, "--json").json == done.json
    done = run("results", batch_id, "--output", str(target), "--status", "failed")
    assert (done.code, done.out, done.err) == (0, "", f"brim: 1 item written to {target}\n")
    assert target.stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_a_file_of_results_appears_whole_or_not_at_all(brim: FakeBrim, run: Brim, tmp_path: Path) -> None:
    batch_id = brim.add_batch(3)
    brim.faults.cut_results = 1_000
    target = tmp_path / "out.jsonl"
    target.write_text("old")
    assert run("results", batch_id, "-o", str(target)).code == 4
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    assert target.read_text() == "old"
    assert run("results", batch_id, "-o", str(tmp_path / "none" / "out")).code == 2


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("submit", "f"),
        ("submit", "f", "--resource", "r", "--type", "CALLBACK"),
        ("submit", "f", "--resource", "r", "--type", "ASYNC", "--callback-url", "https://x"),
        ("submit", "f", "--resource", "r", "-o", "x"),
        ("submit", "f", "--resource", "r", "--capacity", "6x"),
        ("submit", "f", "--resource", "r", "--callback-url", "https://x", "--callback-secret-env", "NO_SUCH"),
        ("submit", "/no/such/file", "--resource", "r"),
        ("watch", "b", "--last-event-id", "3"),
        ("list", "--limit", "0"),
        ("get", "b", "--url", "nowhere"),
    ],
)
def test_bad_usage_is_code_2_and_sends_nothing(brim: FakeBrim, run: Brim, argv: tuple[str, ...]) -> None:
    done = run(*argv)
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith("brim")
    assert brim.requests == []


def test_missing_settings_are_named(run: Brim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRIM_API_KEY")
    done = run("list")
    assert (done.code, done.err.splitlines()[0]) == (2, "brim: missing api_key (or BRIM_API_KEY)")
    assert "brim-server up prints" in done.err


def test_a_refusal_is_one_line_and_code_3(run: Brim, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("get", "nothing")
    assert (done.code, done.err) == (3, "brim: COMPLETION_BATCH_NOT_FOUND: No such batch.\n")
    monkeypatch.setenv("BRIM_API_KEY", "wrong")
    done = run("get", "nothing")
    assert (done.code, done.err) == (3, "brim: UNAUTHENTICATED: The API key is missing or wrong.\n")


def test_nobody_there_is_code_4(brim: FakeBrim, run: Brim) -> None:
    done = run("watch", "b", "--url", "http://127.0.0.1:1")
    assert done.code == 4
    assert done.err.startswith("brim: cannot reach http://127.0.0.1:1")
    brim.faults.refuse = [(503, {"errorCode": "UNAVAILABLE", "errorMessage": "down"}, {})] * FAST.attempts
    assert run("get", "b").code == 4


def test_the_default_policy_is_patient_enough_for_a_restart() -> None:
    policy = RetryPolicy()
    assert sum(policy.first_pause_s / 2 * 2**n for n in range(policy.attempts - 1)) > 1


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
