"""The engine as a whole."""

import pytest

from support.engine import engine as raw_engine
from workspace_server import engine as package
from workspace_server.engine import Engine, EngineAddress


@pytest.mark.engine
async def test_the_engine_says_what_it_is(engine: Engine, address: EngineAddress) -> None:
    async with raw_engine(address.url) as api:
        version = await api.get("/version")

    info = await engine.info()

    assert (info.version, info.platform) == (version["Version"], f"{version['Os']}/{version['Arch']}")


@pytest.mark.engine
async def test_the_engine_knows_where_it_is(engine: Engine, address: EngineAddress) -> None:
    assert engine.address == address


def test_the_packages_names_are_all_there() -> None:
    assert [name for name in package.__all__ if not hasattr(package, name)] == []
