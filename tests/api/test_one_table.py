"""There is one table of runtimes: every list of them that is shown anywhere is that table, no more and no less."""

import ast
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import workspace_server
from support.server import InProcess, in_process
from workspace_server.errors import SettingsError
from workspace_server.runtimes import BUILT_IN, Runtimes
from workspace_server.settings import load_settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWN = "my-agent"
TABLE = sorted([*BUILT_IN, OWN])
UNKNOWN = "nonesuch"
KNOWN = f"known runtimes: {', '.join(TABLE)}"


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["", "127.0.0.1:1/team"], ids=["build", "registry"])
async def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> AsyncIterator[InProcess]:
    """One that builds, and one that pulls; its operator added a runtime."""
    own = {"MOLECULE_EXTRA_RUNTIMES": OWN, "MOLECULE_IMAGE_REGISTRY": request.param}
    async with in_process(tmp_path_factory.mktemp("table"), **own) as opened:
        yield opened


async def body(server: InProcess, method: str, path: str, **sent: Any) -> Any:
    return (await server.call(method, path, **sent)).json()


async def runtimes(server: InProcess) -> list[str]:
    return [each["name"] for each in await body(server, "GET", "/runtimes")]


async def create(server: InProcess) -> list[str]:
    return listed((await body(server, "POST", "/workspaces", json={"name": "a", "runtime": UNKNOWN}))["hint"])


async def build(server: InProcess) -> list[str]:
    return listed((await body(server, "POST", "/images/builds", json={"runtime": UNKNOWN}))["hint"])


async def explain(server: InProcess) -> list[str]:
    return listed((await body(server, "GET", f"/images/explain?runtime={UNKNOWN}"))["hint"])


async def refresh(server: InProcess) -> list[str]:
    answer = await body(server, "POST", f"/admin/workspace-images/refresh?runtime={UNKNOWN}")
    assert listed(answer["hint"]) == answer["known_runtimes"]
    return list(answer["known_runtimes"])


def listed(hint: str) -> list[str]:
    return hint.removeprefix("known runtimes: ").split(", ")


@pytest.mark.parametrize("shown", [runtimes, create, build, explain, refresh])
async def test_every_list_of_an_answer_is_the_table(
    server: InProcess, shown: Callable[[InProcess], Awaitable[list[str]]]
) -> None:
    assert await shown(server) == TABLE == server.services.runtimes.names


async def test_a_refresh_of_everything_from_a_registry_is_of_the_table(server: InProcess) -> None:
    """Without an engine all of them fail; a server that builds cannot even tell which are used."""
    answer = await body(server, "POST", "/admin/workspace-images/refresh")
    pulls = server.services.settings.image_registry is not None

    assert answer["partial_result"]["failed"] == (TABLE if pulls else [])
    assert list(answer["partial_result"]["errors"]) == answer["partial_result"]["failed"]


async def test_a_setting_for_an_unknown_runtime_is_refused_with_the_table() -> None:
    environment = {"HOME": "/nonexistent", "MOLECULE_EXTRA_RUNTIMES": OWN, "MOLECULE_TEMPLATE_REF_NONESUCH": "main"}
    with pytest.raises(SettingsError) as refused:
        Runtimes.from_settings(load_settings(environment))

    assert refused.value.hint.startswith(KNOWN)


async def test_no_other_module_has_a_list_of_runtimes() -> None:
    assert [path for path in source_files() if lists_runtimes(ast.parse(path.read_text()))] == [
        Path(workspace_server.__file__).parent / "runtimes.py"
    ]


@pytest.mark.parametrize(
    "planted",
    ["A = ('hermes', 'codex', 'crewai')", "f({'autogen': 1, 'codex': 2, 'hermes': 3})", "s = 'codex crewai hermes'"],
)
async def test_a_planted_list_is_found(planted: str) -> None:
    assert lists_runtimes(ast.parse(planted))


def source_files() -> list[Path]:
    return sorted(Path(workspace_server.__file__).parent.rglob("*.py"))


def lists_runtimes(tree: ast.AST) -> bool:
    """Whether three or more built-in runtimes are named in one expression or one text."""
    return any(len(named(node)) >= 3 for node in ast.walk(tree) if isinstance(node, ast.expr))


def named(node: ast.AST) -> set[str]:
    texts = (
        inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
    )
    words = {word.strip(",;:'\"") for text in texts for word in text.split()}
    return words & set(BUILT_IN)
