"""Where the client gets its address and key from."""

from __future__ import annotations

import pytest

from brim import AsyncClient, Client, ConfigurationError
from brim.settings import settings

FULL = {
    "BRIM_URL": "http://brim:3000/",
    "BRIM_API_KEY": " key ",
    "BRIM_WORKSPACE": "w",
    "BRIM_ENVIRONMENT": "e",
}


def test_the_environment_fills_what_is_not_given() -> None:
    found = settings(environ=FULL)
    assert (found.base_url, found.api_key, found.workspace, found.environment) == (
        "http://brim:3000",
        "key",
        "w",
        "e",
    )
    assert settings("https://other/v1", workspace="mine", environ=FULL).base_url == "https://other"


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FULL:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BRIM_WORKSPACE", "")
    message = (
        r"missing base_url \(or BRIM_URL\), api_key \(or BRIM_API_KEY\), workspace \(or BRIM_WORKSPACE\), "
        r"environment \(or BRIM_ENVIRONMENT\)"
    )
    with pytest.raises(ConfigurationError, match=message):
        Client()
    with pytest.raises(ConfigurationError, match=r"^missing workspace \(or BRIM_WORKSPACE\)$"):
        AsyncClient("http://x", "k", environment="e")


def test_a_url_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="must start with http"):
        settings("brim:3000", environ=FULL)


def test_the_key_stays_out_of_messages_and_representations() -> None:
    assert "secret" not in repr(settings(api_key="secret", environ=FULL))
    with pytest.raises(ConfigurationError) as raised:
        settings(api_key="secret\nkey", environ=FULL)
    assert "secret" not in str(raised.value)
