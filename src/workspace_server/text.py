"""Texts of others, made fit to be shown: no terminal obeys them, and no line is endless."""

import re

_CONTROL = re.compile(
    # colours and cursor movements
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    # titles, the clipboard, and whatever else is told in words
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    # other escape sequences
    r"|\x1b[ -/]*[0-~]"
    # every other control character but tab and newline
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
_USER = re.compile(r"(?<=://)[^/?#\s]*@")
_MARK = "…"


def plain(text: str) -> str:
    """``text`` without anything that a terminal would obey, but for tabs and newlines."""
    return _CONTROL.sub("", text)


def without_user(url: str) -> str:
    """A URL to be shown: without the user name and the password that it may have."""
    return _USER.sub("***@", url)


def shortened(text: str, most: int) -> str:
    """``text`` with at most so many characters; the last one says that something was left out."""
    return text if len(text) <= most else text[: most - 1] + _MARK
