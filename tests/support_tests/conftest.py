import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.engine import INSTANCE_LABEL, purge
from support.git_server import GitServer, git_server


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[GitServer]:
    """A Git host without repositories."""
    async with git_server(tmp_path) as server:
        yield server


@pytest.fixture
async def label(engine_url: str) -> AsyncIterator[str]:
    """A label of this test alone; whatever carries it is removed afterwards."""
    mine = f"{INSTANCE_LABEL}=support-{uuid.uuid4().hex}"
    yield mine
    await purge(engine_url, mine)
