"""OpenAI's words."""

import pytest

from brim_server.simulator import dialect


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0s"),
        (1, "1ms"),
        (17_000, "17ms"),
        (999_001, "1s"),
        (1_000_000, "1s"),
        (9_816_000, "9.816s"),
        (9_500_000, "9.5s"),
        (60_000_000, "1m0s"),
        (360_000_000, "6m0s"),
        (61_250_000, "1m1.25s"),
        (3_600_000_000, "1h0m0s"),
    ],
)
def test_durations_are_written_as_openai_does(us: int, text: str) -> None:
    assert dialect.duration(us) == text


def test_retry_after_is_rounded_up() -> None:
    assert dialect.retry_after_headers(9_815_001, "both") == b"retry-after: 10\r\nretry-after-ms: 9816\r\n"
    assert dialect.retry_after_headers(9_815_001, "seconds") == b"retry-after: 10\r\n"
    assert dialect.retry_after_headers(9_815_001, "ms") == b"retry-after-ms: 9816\r\n"
    assert dialect.retry_after_headers(9_815_001, "none") == b""
