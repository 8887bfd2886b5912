import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.engine import INSTANCE_LABEL, Engine, engine, engine_address, purge
from support.git_server import GitServer, git_server


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[GitServer]:
    """A Git host without repositories."""
    async with git_server(tmp_path) as server:
        yield server


@pytest.fixture
def address() -> str:
    """The engine's address; without an engine the test fails with the reason."""
    return engine_address()


@pytest.fixture
async def api(address: str) -> AsyncIterator[Engine]:
    """The engine itself, past every proxy."""
    async with engine(address) as connected:
        yield connected


@pytest.fixture
async def label(address: str) -> AsyncIterator[str]:
    """A label of this test alone; whatever carries it is removed afterwards."""
    mine = f"{INSTANCE_LABEL}=support-{uuid.uuid4().hex}"
    yield mine
    await purge(address, mine)
