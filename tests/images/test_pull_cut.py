"""A registry whose connections are cut again and again: the engine gives up some day, and so does the pull.

The engine tries for more than a minute, so this is left out of the ordinary run: ``bin/test -m faults
tests/images/test_pull_cut.py``.
"""

from collections.abc import AsyncIterator

import pytest

from support.registry import PASSWORD, USER, Registry
from support.registry_front import RegistryFront, registry_front
from workspace_server.errors import SourceError
from workspace_server.model.build import BuildState

from .conftest import Heard, ServerOf
from .pulling import Shelf

pytestmark = [pytest.mark.engine, pytest.mark.faults]

PAIR = {"MOLECULE_REGISTRY_USER": USER, "MOLECULE_REGISTRY_TOKEN": PASSWORD}


@pytest.fixture
async def front(hub: Registry) -> AsyncIterator[RegistryFront]:
    async with registry_front(hub, accounts={USER: PASSWORD}) as served:
        yield served


async def test_a_connection_that_is_cut_for_good_is_told_after_the_engines_last_try(
    server_of: ServerOf, hub: Registry, front: RegistryFront, runtime: str
) -> None:
    """Its pauses are no silence: the engine counts them down. Afterwards the image can be pulled."""
    server = server_of(**PAIR, seconds=180, stall_seconds=20)
    shelf = Shelf(hub=hub, runtime=runtime, host=front.host)
    image = await shelf.put(shelf.image(layer_bytes=4_000_000))
    front.cuts = 1_000_000
    with pytest.raises(SourceError) as caught:
        await server.pulls.pull(shelf.identity(), "no image", Heard(), anew=False)
    (record,) = server.book.newest()
    log = server.book.log_path(record.id).read_text()
    tries = 1_000_000 - front.cuts
    front.cuts = 0
    pulled = await server.pulls.pull(shelf.identity(), "no image", Heard(), anew=False)

    assert (caught.value.code, record.state) == ("registry_unreachable", BuildState.FAILED)
    assert (tries > 3, "Retrying in" in log) == (True, True)
    assert pulled.image.id == image.id
