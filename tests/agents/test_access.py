"""Which workspaces may talk to which."""

import pytest

from support.rows import workspace
from support.server import InProcess
from workspace_server.agents import may_communicate

pytestmark = pytest.mark.asyncio(loop_scope="module")

#  one            two
#  ├── elder      └── cousin
#  │   └── deep
#  │       └── deeper
#  └── younger
PARENTS = {
    "one": None,
    "two": None,
    "elder": "one",
    "younger": "one",
    "cousin": "two",
    "deep": "elder",
    "deeper": "deep",
}


async def tree(app: InProcess) -> dict[str, str]:
    made: dict[str, str] = {}
    for name, parent in PARENTS.items():
        made[name] = await workspace(app, parent_id=made[parent] if parent else None)
    return made


@pytest.mark.parametrize(
    ("one", "other", "may"),
    [
        ("deep", "deep", True),
        ("one", "two", True),
        ("elder", "younger", True),
        ("one", "elder", True),
        ("one", "deeper", True),
        ("elder", "deeper", True),
        ("younger", "deep", False),
        ("elder", "cousin", False),
        ("deeper", "cousin", False),
        ("two", "elder", False),
        ("two", "deeper", False),
    ],
)
async def test_relatives_talk_and_strangers_do_not(app: InProcess, one: str, other: str, *, may: bool) -> None:
    known = await tree(app)
    assert await may_communicate(app.services.store, known[one], known[other]) is may
    assert await may_communicate(app.services.store, known[other], known[one]) is may


async def test_who_does_not_exist_talks_to_nobody_else(app: InProcess) -> None:
    identity = await workspace(app)
    assert not await may_communicate(app.services.store, "nobody", identity)
    assert not await may_communicate(app.services.store, identity, "nobody")
    assert await may_communicate(app.services.store, "nobody", "nobody")


async def test_a_chain_of_parents_is_followed_to_its_limit(app: InProcess) -> None:
    top = current = await workspace(app)
    chain = [top]
    for _ in range(33):
        current = await workspace(app, parent_id=current)
        chain.append(current)
    assert await may_communicate(app.services.store, top, chain[32])
    assert not await may_communicate(app.services.store, top, chain[33])
