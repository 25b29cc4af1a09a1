"""Keys of callers, and secrets of providers."""

from __future__ import annotations

import pytest

from scheduler.domain.errors import InvariantBroken, Unavailable
from scheduler.services.callers.keys import hash_key, key_from, make_key, mask
from scheduler.services.callers.secrets import Vault


def test_a_made_key_has_256_bits_and_is_stored_as_its_hash() -> None:
    made = {make_key().text for _ in range(50)}
    assert len(made) == 50
    one = make_key()
    assert one.text.startswith("brim_")
    assert len(one.text) >= 5 + 43
    assert one.key_hash == hash_key(one.text)
    assert one.text[7:-2] not in one.masked


def test_a_mask_gives_nearly_nothing_away() -> None:
    assert mask("brim_abcdefghijklmnopqrstuvwxyz") == "brim_ab…yz"
    assert mask("short") == "…"
    assert key_from("brim_0123456789abcdefghij").masked == "brim_01…ij"


def test_what_is_sealed_opens_under_the_same_key_only() -> None:
    vault = Vault("k" * 32)
    sealed = vault.seal("sk-é")
    assert vault.open(sealed) == "sk-é"
    assert vault.seal("sk-é") != sealed
    with pytest.raises(InvariantBroken):
        Vault("l" * 32).open(sealed)
    for damaged in (b"", sealed[:-1], b"\x02" + sealed[1:], sealed[:8]):
        with pytest.raises(InvariantBroken):
            vault.open(damaged)


def test_without_a_key_nothing_is_sealed() -> None:
    with pytest.raises(Unavailable):
        Vault(None).seal("x")
