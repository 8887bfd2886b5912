"""What a secret may be called, what it may hold, and the forms of the key it is kept under."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workspace_server.model.secret import RESERVED, check_secret, parse_encryption_key

KEY = bytes(range(32))


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(KEY).decode(),
        base64.b64encode(KEY).decode().rstrip("="),
        base64.urlsafe_b64encode(KEY).decode(),
        f" {base64.b64encode(KEY).decode()}\n",
    ],
    ids=["base64", "unpadded", "urlsafe", "in white space"],
)
def test_base64_of_32_bytes_is_those_bytes(text: str) -> None:
    assert parse_encryption_key(text) == KEY


@pytest.mark.parametrize("text", ["0123456789abcdef0123456789abcdef", "A" * 32, "k" * 31 + "="])
def test_32_characters_are_the_key_although_they_look_like_base64_of_24_bytes(text: str) -> None:
    assert parse_encryption_key(text) == text.encode()


@pytest.mark.parametrize("text", ["", "k" * 31, "k" * 33, "0" * 64, base64.b64encode(KEY + b"x").decode(), "é" * 32])
def test_anything_else_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is neither 32 characters nor base64 of 32 bytes$"):
        parse_encryption_key(text)


@given(key=st.binary(min_size=32, max_size=32))
def test_every_key_survives_base64(key: bytes) -> None:
    assert parse_encryption_key(base64.b64encode(key).decode()) == key


@pytest.mark.parametrize("key", ["A", "_x", "ANTHROPIC_API_KEY", "a1", "K" * 128])
def test_a_variables_name_is_a_key(key: str) -> None:
    assert check_secret(key, "value") is None


@pytest.mark.parametrize("key", ["", "1A", "A-B", "A B", "A=B", "é", "A\n", "K" * 129, *sorted(RESERVED)])
def test_what_is_no_variables_name_or_the_servers_own_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="secret"):
        check_secret(key, "value")


@pytest.mark.parametrize("value", ["x" * (64 * 1024 + 1), "a\0b"])
def test_what_no_environment_can_hold_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(ValueError, match=r"^the value of A is longer than 64 KiB or holds a NUL$"):
        check_secret("A", value)
