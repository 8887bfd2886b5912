"""Disks without a byte left, and what is asked of a server meanwhile."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from .ground import Ground
from .table import Trial

_MANY = 20
_PIECE = 900


@contextmanager
def filled(place: Path) -> Iterator[None]:
    """The file system at ``place`` without a byte left."""
    ballast = place / "ballast"
    free = os.statvfs(place)
    end, piece = 0, free.f_bavail * free.f_frsize
    with ballast.open("wb") as file:
        while piece > 0:
            try:
                os.posix_fallocate(file.fileno(), end, piece)
                end += piece
            except OSError:  # somebody took some of it meanwhile
                piece //= 2
    try:
        yield
    finally:
        ballast.unlink()


async def ask_for_many(ground: Ground, row: Trial) -> set[str]:
    """Ask for more workspaces than a full database has room for; those that were acknowledged. A refusal is a hit."""
    acknowledged = set()
    for number in range(_MANY):
        body = {"name": f"full-{number}", "runtime": "langgraph", "role": "x" * _PIECE}
        answer = await ground.server.client.post("/workspaces", json=body)
        row.injected += refusals([answer])
        if answer.is_success:
            acknowledged.add(answer.json()["id"])
            ground.made.append(answer.json()["id"])
    return acknowledged


def refusals(answers: Iterable[httpx.Response]) -> int:
    """How many say that the database cannot be used right now, and when to come again; the others were carried out."""
    refused = [answer for answer in answers if not answer.is_success]
    for each in refused:
        assert (each.status_code, each.json()["code"]) == (503, "database_unavailable"), each.text
        assert int(each.headers["retry-after"]) > 0
    return len(refused)
