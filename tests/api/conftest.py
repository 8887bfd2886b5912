"""A server with an administrator."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from support.server import InProcess, in_process

ADMIN_TOKEN = "an-administrator's-long-random-string"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def admin_app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcess]:
    """A server that has an administrator."""
    async with in_process(tmp_path_factory.mktemp("admin"), ADMIN_TOKEN=ADMIN_TOKEN) as opened:
        yield opened
