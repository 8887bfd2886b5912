"""Parts that are opened once, whoever asks."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from workspace_server.engine import ImageBuilder
from workspace_server.errors import UnavailableError
from workspace_server.settings import load_settings
from workspace_server.wiring.images import _chosen_once


@pytest.fixture
def choices(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the builder is chosen to be, one after the other; an error is raised."""
    planned: list[Any] = []

    async def choose(*_: object) -> Any:
        await asyncio.sleep(0)
        choice = planned.pop(0)
        if isinstance(choice, Exception):
            raise choice
        return choice

    monkeypatch.setattr(ImageBuilder, "choose", choose)
    return planned


def chosen_once(directory: Path) -> Any:
    return _chosen_once(load_settings({"HOME": str(directory)}), SimpleNamespace(address=None))  # type: ignore[arg-type]


async def test_the_builder_is_chosen_once_and_said(choices: list[Any], tmp_path: Path) -> None:
    best = SimpleNamespace(description="buildx 0.13.1")
    choices += [best, SimpleNamespace(description="another")]
    choose = chosen_once(tmp_path)
    with capture_logs() as logs:
        found = await asyncio.gather(*(choose() for _ in range(3)))

    assert [each is best for each in found] == [True] * 3
    assert [(line["event"], line["builder"]) for line in logs] == [("local-build: builder chosen", "buildx 0.13.1")]


async def test_where_no_builder_could_be_chosen_the_next_build_chooses_again(
    choices: list[Any], tmp_path: Path
) -> None:
    best = SimpleNamespace(description="buildx 0.13.1")
    choices += [UnavailableError("no engine", code="engine_unavailable"), best]
    choose = chosen_once(tmp_path)
    with pytest.raises(UnavailableError):
        await choose()

    assert await choose() is best
