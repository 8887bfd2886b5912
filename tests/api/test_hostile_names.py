"""Names that are on no list: every route refuses them, before anybody is asked."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote

import pytest
import pytest_asyncio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.git_server import GitServer, git_server
from support.server import InProcess, in_process

pytestmark = pytest.mark.asyncio(loop_scope="module")

PIECES = st.sampled_from(
    ["hermes", "-default", "-", "..", "/", "%2e", "\\", "\n", "\x1b[2J", "@", ":", "*", "$(id)", " ", "H"]
)
NAMES = st.one_of(st.text(min_size=1, max_size=20), st.lists(PIECES, min_size=1, max_size=4).map("".join)).filter(
    lambda name: name.isascii() or not any("\ud800" <= char <= "\udfff" for char in name)
)


@dataclass(frozen=True, slots=True)
class Place:
    """A server without an engine, and the Git host that it would ask."""

    app: InProcess
    git: GitServer


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    directory = tmp_path_factory.mktemp("place")
    async with (
        git_server(directory) as git,
        in_process(directory / "home", MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX=git.repo_prefix) as app,
    ):
        yield Place(app, git)


@settings(max_examples=50, deadline=None)
@given(name=NAMES)
@example(name="../hermes")
@example(name="hermes/../../../other/repository")
@example(name="x" * 100)
async def test_a_name_that_is_on_no_list_is_refused_and_nobody_is_asked(place: Place, name: str) -> None:
    if name.removesuffix("-default") in {"", *place.app.services.runtimes.names}:
        return
    answers = [
        await place.app.call("POST", "/workspaces", json={"name": "a", "runtime": name}),
        await place.app.call("POST", "/images/builds", json={"runtime": name}),
        await place.app.call("GET", f"/images/explain?runtime={quote(name, safe='')}"),
    ]
    assert {answer.status_code for answer in answers} == {400}
    assert {answer.json()["code"] for answer in answers} <= {"unknown_runtime", "invalid_request"}
    assert max(len(answer.content) for answer in answers) < 1000
    assert (place.git.requests, await place.app.services.workspaces.present()) == ([], [])
    assert [path.name for path in place.app.services.settings.build_cache.glob("*")] == []


@settings(max_examples=50, deadline=None)
@given(name=NAMES.filter(lambda name: name.strip("./") == name))  # clients take out what dots and slashes mean
@example(name="../../../../etc/passwd")
@example(name="%2e%2e%2f%2e%2e%2fetc")
async def test_a_build_that_is_none_is_unknown_and_no_path(place: Place, name: str) -> None:
    where = f"/images/builds/{quote(name, safe='')}"
    answers = [
        await place.app.call("GET", where),
        await place.app.call("GET", f"{where}/log"),
        await place.app.call("DELETE", where),
    ]
    assert {answer.status_code for answer in answers} <= {404}
