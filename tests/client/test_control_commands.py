"""`brim cancel`, `pause`, `resume` and `change`: what they do and what they say."""

from __future__ import annotations

import pytest

from .fake_brim import FakeBrim
from .test_cli import Brim, run

__all__ = ["run"]


def test_cancel_says_how_the_batch_stands(brim: FakeBrim, run: Brim) -> None:
    batch_id = brim.add_batch(1)
    brim.batches[batch_id]["status"] = "RUNNING"
    done = run("cancel", batch_id)
    assert (done.code, done.out.startswith("CANCELLED: ")) == (0, True)
    again = run("cancel", batch_id, "--json")
    assert (again.json[0]["status"], again.err) == ("CANCELLED", "")


def test_what_was_cancelled_does_not_count_as_speed(brim: FakeBrim, run: Brim) -> None:
    batch_id = brim.add_batch(1)
    times = {"createdAt": "2026-01-01T00:00:00Z", "completedAt": "2026-01-01T00:00:10Z"}
    brim.batches[batch_id] |= {"status": "RUNNING", "totalItems": 100, "completed": 20, "cancelled": 80, **times}
    assert run("cancel", batch_id).out.endswith("80 cancelled, in 10 s (2.0/s)\n")


def test_a_batch_is_held_and_goes_on(brim: FakeBrim, run: Brim) -> None:
    batch_id = brim.add_batch(1)
    brim.batches[batch_id]["status"] = "RUNNING"
    assert run("pause", batch_id).out == f"batch {batch_id} is held; what runs of it ends by itself\n"
    assert run("get", batch_id, "--json").json[0]["paused"] is True
    assert run("resume", batch_id).out == f"batch {batch_id} goes on\n"
    assert run("get", batch_id, "--json").json[0]["paused"] is False


def test_a_batch_that_has_ended_is_not_cancelled_and_that_is_said(brim: FakeBrim, run: Brim) -> None:
    batch_id = brim.add_batch(1)
    brim.faults.refuse.append((200, brim.batches[batch_id], {}))
    done = run("cancel", batch_id)
    assert (done.code, done.err) == (0, "brim: it had ended, and stays as it is\n")
    assert done.out.startswith("COMPLETED: ")


def test_what_is_named_is_changed_and_what_the_batch_has_now_is_said(brim: FakeBrim, run: Brim) -> None:
    batch_id = brim.add_batch(1)
    brim.batches[batch_id]["status"] = "RUNNING"
    done = run("change", batch_id, "--priority", "low", "--capacity", "6rpm/1ktpm", "--deadline", "2030-01-01T00:00Z")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        f"batch {batch_id}: priority low · 6 requests and 1,000 tokens per minute · deadline 2030-01-01 00:00:00 UTC\n"
    )
    assert "limits    6 requests and 1,000 tokens per minute" in run("get", batch_id).out
    brim.batches[batch_id]["feasibility"] = {"warning": "it ends late"}
    bare = run("change", batch_id, "--no-capacity", "--no-deadline")
    assert (bare.out, bare.err) == (
        f"batch {batch_id}: priority low · no limits of its own · no deadline\n",
        "brim: it ends late\n",
    )
    assert [body for method, _, _, body in brim.requests if method == "PATCH"] == [
        {
            "priority": "low",
            "capacity": [{"period": "MINUTE", "requests": 6, "tokens": 1000}],
            "deadline": "2030-01-01T00:00Z",
        },
        {"capacity": None, "deadline": None},
    ]
    assert run("change", batch_id, "--priority", "high", "--json").json[0]["priority"] == "high"


def test_a_batch_that_has_ended_is_not_changed(brim: FakeBrim, run: Brim) -> None:
    done = run("change", brim.add_batch(1), "--priority", "low")
    assert (done.code, done.out, done.err) == (3, "", "brim: INVALID_STATE: The batch is COMPLETED.\n")


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        ((), "nothing to change: name --priority, --[no-]capacity or --[no-]deadline"),
        (("--priority", "urgent"), "invalid choice: 'urgent'"),
        (("--capacity", "6rpm", "--no-capacity"), "not allowed with argument"),
        (("--deadline", "2030-01-01T00:00Z", "--no-deadline"), "not allowed with argument"),
        (("--capacity", "lots"), "'lots' is no capacity"),
    ],
)
def test_a_change_that_makes_no_sense_is_never_sent(
    brim: FakeBrim, run: Brim, argv: tuple[str, ...], reason: str
) -> None:
    done = run("change", brim.add_batch(1), *argv)
    assert (done.code, done.out) == (2, "")
    assert reason in done.err
    assert brim.requests == []
