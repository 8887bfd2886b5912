"""Texts of others, as they are shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workspace_server.text import plain, shortened, without_user

OBEYED = {
    "colour": "\x1b[31;1mred\x1b[0m",
    "cursor": "\x1b[2K\x1b[1Ared",
    "title": "\x1b]0;owned\x07red",
    "clipboard": "\x1b]52;c;cm0gLXJm\x1b\\red",
    "link": "\x1b]8;;http://evil.example.org\x1b\\red\x1b]8;;\x1b\\",
    "device control": "\x1bP+q544e\x1b\\red",
    "reset": "\x1bcred",
    "character set": "\x1b(0red",
    "eight bits": "\x9b31mred\x9d0;title\x9c\x9b",
    "bell": "\x07re\x08d",
    "delete": "red\x7f",
    "null": "\x00red",
    "carriage return": "red\r",
    "without an end": "red\x1b]0;title",
    "cut": "red\x1b",
}


@pytest.mark.parametrize("text", OBEYED.values(), ids=OBEYED)
def test_what_a_terminal_would_obey_is_taken_out(text: str) -> None:
    assert plain(text) == "red"


@pytest.mark.parametrize("text", ["a\tb\nc", "Zoë ☃ 名前", "[bold]x[/bold]", "$(rm -rf /) `x`", "C:\\x\\1b["])
def test_everything_else_stays(text: str) -> None:
    assert plain(text) == text


@given(text=st.text(st.characters(max_codepoint=0xFF)))
def test_nothing_of_control_is_left_whatever_the_text(text: str) -> None:
    assert [char for char in plain(text) if (char < " " and char not in "\t\n") or "\x7f" <= char <= "\x9f"] == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:hush@h/p", "https://***@h/p"),
        ("https://hush@h:1/p?a@b", "https://***@h:1/p?a@b"),
        ("ssh://u:p@ss@h", "ssh://***@h"),
        ("https://h/~me/t@2", "https://h/~me/t@2"),
        ("unix:///run/user@1/docker.sock", "unix:///run/user@1/docker.sock"),
        ("nothing@all", "nothing@all"),
    ],
)
def test_a_url_is_shown_without_its_user(url: str, shown: str) -> None:
    assert without_user(url) == shown


def test_a_long_text_is_cut_and_says_so() -> None:
    assert (shortened("abcdef", 6), shortened("abcdefg", 6)) == ("abcdef", "abcde…")
