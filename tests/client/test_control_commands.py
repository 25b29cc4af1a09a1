"""`brim cancel`, `pause` and `resume`: what they do and what they say."""

from __future__ import annotations

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
