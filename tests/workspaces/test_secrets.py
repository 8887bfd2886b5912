"""Secrets of workspaces: set, replaced, removed, listed, opened, sealed anew."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from workspace_server.db import Database, SecretStore, WorkspaceStore
from workspace_server.errors import InvalidRequestError, NotFoundError, UnavailableError
from workspace_server.model.workspace import WorkspaceSpec
from workspace_server.workspaces.secrets import SecretService
from workspace_server.workspaces.vault import Vault

KEY, OTHER = b"k" * 32, b"o" * 32


def service_of(database: Database, *keys: bytes) -> SecretService:
    return SecretService(database=database, store=SecretStore(database), vault=Vault(keys or [KEY]))


@pytest.fixture
def service(database: Database) -> SecretService:
    return service_of(database)


@pytest.fixture
async def workspace(database: Database, store: WorkspaceStore) -> str:
    async with database.write() as tx:
        await store.insert(tx, "w", WorkspaceSpec(name="a", runtime="langgraph", tier=2))
        await store.insert(tx, "v", WorkspaceSpec(name="b", runtime="langgraph", tier=2))
    return "w"


async def test_a_secret_is_told_to_its_workspace_alone(service: SecretService, workspace: str) -> None:
    await service.put(workspace, "A", "1")

    assert (await service.environment(workspace), await service.environment("v")) == ({"A": "1"}, {})


async def test_a_secret_of_all_is_told_to_all_but_those_that_replace_it(service: SecretService, workspace: str) -> None:
    await service.put(None, "A", "all")
    await service.put(None, "B", "all")
    await service.put(workspace, "A", "own")

    assert await service.environment(workspace) == {"A": "own", "B": "all"}
    assert await service.environment("v") == {"A": "all", "B": "all"}


async def test_what_is_given_is_beneath_every_secret_and_shown_and_kept_nowhere(
    database: Database, workspace: str
) -> None:
    async def given() -> Mapping[str, str]:
        return {"A": "given", "B": "given", "C": "given"}

    service = SecretService(database=database, store=SecretStore(database), vault=Vault([KEY]), given=given)
    await service.put(None, "B", "all")
    await service.put(workspace, "C", "own")

    assert await service.environment(workspace) == {"A": "given", "B": "all", "C": "own"}
    assert [each.key for each in await service.infos(workspace)] == ["C", "B"]
    assert await service_of(database).environment(workspace) == {"B": "all", "C": "own"}


async def test_a_secret_is_replaced(service: SecretService, workspace: str) -> None:
    await service.put(workspace, "A", "1")
    before = (await service.infos(workspace))[0]
    await service.put(workspace, "A", "2")
    (after,) = await service.infos(workspace)

    assert await service.environment(workspace) == {"A": "2"}
    assert (after.created_at, after.updated_at > before.updated_at) == (before.created_at, True)


async def test_a_secret_is_removed_once(service: SecretService, workspace: str) -> None:
    await service.put(workspace, "A", "1")
    await service.delete(workspace, "A")

    assert await service.environment(workspace) == {}
    with pytest.raises(NotFoundError):
        await service.delete(workspace, "A")


async def test_a_list_has_its_own_first_and_those_of_all_that_it_does_not_replace(
    service: SecretService, workspace: str
) -> None:
    for owner, key in ((None, "A"), (None, "B"), (workspace, "C"), (workspace, "A")):
        await service.put(owner, key, "x")

    assert [(each.key, each.is_global) for each in await service.infos(workspace)] == [
        ("A", False),
        ("C", False),
        ("B", True),
    ]


async def test_what_may_not_be_a_secret_is_not_saved(service: SecretService, workspace: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await service.put(workspace, "PLATFORM_URL", "http://elsewhere")

    assert caught.value.as_dict() == {
        "error": "PLATFORM_URL is set by the server and cannot be a secret",
        "code": "invalid_secret",
    }
    assert await service.infos(workspace) == []


async def test_no_value_is_in_the_database(service: SecretService, workspace: str, tmp_path: Path) -> None:
    await service.put(workspace, "A", "plain-text-value")

    found = [file for file in tmp_path.glob("molecule.db*") if b"plain-text-value" in file.read_bytes()]  # noqa: ASYNC240
    assert found == []


async def test_secrets_that_cannot_be_opened_are_all_named(
    database: Database, service: SecretService, workspace: str
) -> None:
    await service.put(workspace, "A", "1")
    await service.put(workspace, "B", "2")
    with pytest.raises(UnavailableError) as caught:
        await service_of(database, OTHER).environment(workspace)

    assert (caught.value.code, caught.value.message) == (
        "secret_unreadable",
        "secrets of workspace w cannot be opened with this server's key: A, B",
    )


async def test_a_secret_of_all_that_is_replaced_need_not_be_opened(
    database: Database, service: SecretService, workspace: str
) -> None:
    await service.put(None, "A", "all")
    await service_of(database, OTHER).put(workspace, "A", "own")

    assert await service_of(database, OTHER).environment(workspace) == {"A": "own"}


async def test_after_sealing_anew_the_old_key_opens_nothing_and_the_new_one_all(
    database: Database, service: SecretService, workspace: str
) -> None:
    await service.put(None, "A", "all")
    await service.put(workspace, "B", "own")

    assert await service_of(database, OTHER, KEY).reseal() == 2
    assert await service_of(database, OTHER).environment(workspace) == {"A": "all", "B": "own"}
    with pytest.raises(UnavailableError):
        await service.environment(workspace)


async def test_when_one_cannot_be_opened_none_is_sealed_anew(
    database: Database, service: SecretService, workspace: str
) -> None:
    await service.put(None, "A", "all")
    await service_of(database, b"x" * 32).put(workspace, "B", "lost")
    with pytest.raises(UnavailableError):
        await service_of(database, OTHER, KEY).reseal()

    assert await service.environment("v") == {"A": "all"}
