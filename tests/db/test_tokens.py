"""Tokens of workspaces: shown once, kept as hashes, dead when revoked."""

from pathlib import Path

import pytest

from workspace_server.db import Database, TokenStore, WorkspaceStore, open_database

from .conftest import Create, spec


@pytest.fixture
async def tokens(database: Database, create: Create) -> TokenStore:
    """The tokens of two workspaces, ``a`` and ``b``, that have none yet."""
    await create("a")
    await create("b")
    return TokenStore(database)


async def issue(database: Database, tokens: TokenStore, workspace_id: str = "a") -> str:
    async with database.write() as tx:
        return await tokens.issue(tx, workspace_id)


async def test_a_token_belongs_to_its_workspace(database: Database, tokens: TokenStore) -> None:
    token = await issue(database, tokens, "b")

    assert await tokens.owner(token) == "b"


async def test_a_workspace_may_have_several_tokens(database: Database, tokens: TokenStore) -> None:
    both = [await issue(database, tokens), await issue(database, tokens)]

    assert [await tokens.owner(token) for token in both] == ["a", "a"]


async def test_a_token_is_32_bytes_of_url_safe_text(database: Database, tokens: TokenStore) -> None:
    token = await issue(database, tokens)

    assert (len(token), token.replace("-", "").replace("_", "").isalnum()) == (43, True)


async def test_no_two_tokens_are_the_same(database: Database, tokens: TokenStore) -> None:
    assert len({await issue(database, tokens) for _ in range(20)}) == 20


@pytest.mark.parametrize("wrong", ["", "x", "é", "\x00", "' OR 1=1 --"])
async def test_a_wrong_token_is_nobodys(database: Database, tokens: TokenStore, wrong: str) -> None:
    await issue(database, tokens)

    assert await tokens.owner(wrong) is None


async def test_a_part_of_a_token_is_nobodys(database: Database, tokens: TokenStore) -> None:
    token = await issue(database, tokens)

    assert [await tokens.owner(part) for part in (token[:8], token[:-1], token + "x", token.swapcase())] == [None] * 4


async def test_a_revoked_token_is_nobodys(database: Database, tokens: TokenStore) -> None:
    token = await issue(database, tokens)
    async with database.write() as tx:
        await tokens.revoke_all(tx, "a")

    assert await tokens.owner(token) is None


async def test_revoking_leaves_other_workspaces_tokens_alone(database: Database, tokens: TokenStore) -> None:
    token = await issue(database, tokens, "b")
    async with database.write() as tx:
        await tokens.revoke_all(tx, "a")

    assert await tokens.owner(token) == "b"


async def test_a_rotation_replaces_every_token(database: Database, tokens: TokenStore) -> None:
    old = [await issue(database, tokens), await issue(database, tokens)]
    async with database.write() as tx:
        new = await tokens.rotate(tx, "a")

    assert [await tokens.owner(token) for token in (*old, new)] == [None, None, "a"]


async def test_a_rotation_that_is_undone_leaves_the_old_token(database: Database, tokens: TokenStore) -> None:
    old, new = await issue(database, tokens), ""

    async def work() -> None:
        nonlocal new
        async with database.write() as tx:
            new = await tokens.rotate(tx, "a")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await work()

    assert [await tokens.owner(token) for token in (old, new)] == ["a", None]


async def test_a_workspace_without_a_token_has_no_live_one(tokens: TokenStore) -> None:
    assert not await tokens.has_live("a")


async def test_a_workspace_with_a_token_has_a_live_one(database: Database, tokens: TokenStore) -> None:
    await issue(database, tokens)

    assert (await tokens.has_live("a"), await tokens.has_live("b")) == (True, False)


async def test_a_workspace_whose_tokens_were_revoked_has_no_live_one(database: Database, tokens: TokenStore) -> None:
    await issue(database, tokens)
    async with database.write() as tx:
        await tokens.revoke_all(tx, "a")

    assert not await tokens.has_live("a")


async def test_no_token_is_in_any_file(path: Path) -> None:
    async with open_database(path) as database:
        async with database.write() as tx:
            await WorkspaceStore(database).insert(tx, "a", spec())
        issued = [await issue(database, TokenStore(database)) for _ in range(5)]
    content = b"".join(file.read_bytes() for file in path.parent.iterdir())
    visible = [token for token in issued if token[:8].encode() in content]  # the prefix shows that this searches

    assert (visible, [token for token in issued if token[:12].encode() in content]) == (issued, [])
