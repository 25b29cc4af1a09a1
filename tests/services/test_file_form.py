"""What the fields of an upload must be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from scheduler.domain.errors import BadParameter
from scheduler.domain.file import Purpose
from scheduler.services.files.form import check_name, check_purpose, expiry, expiry_seconds, listed_purpose

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def anchored(seconds: str, anchor: str = "created_at") -> dict[str, str]:
    """The two fields of an expiry."""
    return {"expires_after[anchor]": anchor, "expires_after[seconds]": seconds}


@pytest.mark.parametrize("purpose", ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"])
def test_callers_may_upload_what_openai_takes(purpose: str) -> None:
    assert check_purpose(purpose).value == purpose


def test_results_are_listed_but_not_uploaded() -> None:
    assert listed_purpose("batch_output") is Purpose.BATCH_OUTPUT
    assert listed_purpose(None) is None
    with pytest.raises(BadParameter) as caught:
        check_purpose("batch_output")
    assert (caught.value.param, caught.value.reason) == ("purpose", "invalid_value")


def test_only_inputs_of_batches_must_be_jsonl() -> None:
    assert check_name("a.jsonl", Purpose.BATCH) == "a.jsonl"
    assert check_name("a.pdf", Purpose.USER_DATA) == "a.pdf"
    for name in ("a.json", "a.jsonl.gz", "ajsonl", "a.JSONL"):
        with pytest.raises(BadParameter, match=r"Must be \.jsonl"):
            check_name(name, Purpose.BATCH)


@pytest.mark.parametrize("name", ["a\n.jsonl", "a\0.jsonl", "a" * 513, "a\u202e.jsonl"])
def test_a_name_is_printable_and_short(name: str) -> None:
    with pytest.raises(BadParameter) as caught:
        check_name(name, Purpose.USER_DATA)
    assert caught.value.param == "file"


def test_the_bounds_of_an_expiry_are_exact() -> None:
    for seconds in (3_600, 2_592_000):
        assert expiry(anchored(str(seconds)), Purpose.VISION, NOW) == NOW + timedelta(seconds=seconds)
    for bad in ("3599", "2592001", "-3600", "3.6e3", "٣٦٠٠", "", "9" * 30):
        with pytest.raises(BadParameter) as caught:
            expiry(anchored(bad), Purpose.VISION, NOW)
        assert caught.value.param == "expires_after[seconds]"
    with pytest.raises(BadParameter, match="created_at"):
        expiry(anchored("3600", "now"), Purpose.VISION, NOW)


def test_a_number_is_no_boolean() -> None:
    assert expiry_seconds(3600, "x") == 3600
    for bad in (True, 3600.0, None):
        with pytest.raises(BadParameter):
            expiry_seconds(bad, "x")


def test_without_a_word_only_inputs_of_batches_expire() -> None:
    assert expiry({}, Purpose.BATCH, NOW) == NOW + timedelta(days=30)
    assert expiry({}, Purpose.USER_DATA, NOW) is None
