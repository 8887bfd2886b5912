"""A workspace's /configs, a workspace server, and the adapter registered with it."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .echo_support import ECHO, TOKEN, Adapter, Platform, open_adapter, open_platform


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """What the server puts there before the container starts."""
    configs = tmp_path / "configs"
    configs.mkdir()
    shutil.copy(ECHO / "config.yaml", configs)
    token = configs / ".auth_token"
    token.touch(mode=0o600)
    token.write_text(TOKEN)
    return configs


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    async with open_platform() as platform:
        yield platform


@pytest.fixture
async def adapter(configs: Path, platform: Platform) -> AsyncIterator[Adapter]:
    async with open_adapter(configs, PLATFORM_URL=platform.url, ECHO_HEARTBEAT_SECONDS="0.05") as adapter:
        yield adapter
