"""How commands print: tables for people, JSON for programs, sizes and ages in words."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from workspace_server.text import plain

_UNFOLDED = 1_000_000  # characters, more than any row has
_CONTROL = re.compile("[\x7f-\x9f]")  # what JSON need not escape, and terminals obey
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def print_json(value: Any) -> None:
    """Print JSON, indented, to stdout."""
    print(json_text(value, indent=2))


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON that no terminal obeys: it is all there, and escaped where it must be."""
    return _CONTROL.sub(_escaped, json.dumps(value, indent=indent, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their columns' names: folded to fit a terminal, one line a row for a file or a program."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(plain, row))
    console = Console(highlight=False, markup=False)
    if console.is_terminal:
        console.print(table)
        return
    for line in console.render_lines(table, console.options.update(width=_UNFOLDED), pad=False):
        print("".join(segment.text for segment in line).rstrip())


def _escaped(control: re.Match[str]) -> str:
    return f"\\u{ord(control[0]):04x}"


def size(count: int) -> str:
    """Bytes in the unit that reads best."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:  # noqa: PLR2004 - the step between units
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def built(image: Mapping[str, Any]) -> str:
    """How long ago an image was built, as far as it says so, and whether there may be a newer one."""
    when = ago(image["built_at"]) if image["built_at"] else "unknown"
    return f"{when}{', stale' if image['stale'] else ''}"


def duration(seconds: float) -> str:
    """Seconds in words: ``4.1 s``, ``3 min 05 s``, ``1 h 02 min``."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), _MINUTE)
    return f"{minutes} min {rest:02} s" if seconds < _HOUR else f"{minutes // 60} h {minutes % 60:02} min"


def one_line(text: str) -> str:
    """A text of others on one line, without what would move a terminal's cursor."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def ago(moment: str | None) -> str:
    """How long ago an RFC 3339 moment was."""
    if moment is None:
        return "never"
    seconds = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    for unit, length in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{max(0, seconds):.0f} s ago"
