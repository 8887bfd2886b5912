"""Sealing secrets: with the key, and for one place only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workspace_server.workspaces.vault import UnreadableError, Vault

KEY, OTHER = b"k" * 32, b"o" * 32


@given(value=st.text(st.characters(exclude_categories=["Cs"])), owner=st.none() | st.text("abc-1", min_size=1))
def test_what_is_sealed_can_be_opened(value: str, owner: str | None) -> None:
    assert Vault([KEY]).open(owner, "A", Vault([KEY]).seal(owner, "A", value)) == value


def test_a_sealed_value_shows_nothing_of_it_and_is_never_the_same() -> None:
    one, other = (Vault([KEY]).seal("w", "A", "plain text") for _ in range(2))

    assert (b"plain" in one, one == other) == (False, False)


@pytest.mark.parametrize(
    ("owner", "name"), [("v", "A"), ("w", "B"), (None, "A"), (None, "w\0A")], ids=["workspace", "name", "all", "trick"]
)
def test_a_value_that_was_moved_to_another_place_cannot_be_opened(owner: str | None, name: str) -> None:
    sealed = Vault([KEY]).seal("w", "A", "value")

    with pytest.raises(UnreadableError):
        Vault([KEY]).open(owner, name, sealed)


def test_another_key_opens_nothing() -> None:
    with pytest.raises(UnreadableError):
        Vault([OTHER]).open("w", "A", Vault([KEY]).seal("w", "A", "value"))


def test_a_previous_key_still_opens() -> None:
    assert Vault([OTHER, KEY]).open("w", "A", Vault([KEY]).seal("w", "A", "value")) == "value"


def test_the_first_key_seals() -> None:
    assert Vault([OTHER]).open("w", "A", Vault([OTHER, KEY]).seal("w", "A", "value")) == "value"


@pytest.mark.parametrize("cut", [0, 1, 12, 13, 20])
def test_half_a_value_cannot_be_opened(cut: int) -> None:
    with pytest.raises(UnreadableError):
        Vault([KEY]).open("w", "A", Vault([KEY]).seal("w", "A", "value")[:cut])


@given(place=st.integers(0, 40), bit=st.integers(0, 7))
def test_a_changed_bit_is_noticed(place: int, bit: int) -> None:
    sealed = bytearray(Vault([KEY]).seal("w", "A", "a value of some length"))
    sealed[place % len(sealed)] ^= 1 << bit

    with pytest.raises(UnreadableError):
        Vault([KEY]).open("w", "A", bytes(sealed))
