"""A hosted tenant's server as it is put together: what it asks of its control plane, and that it waits for nothing."""

import asyncio
from pathlib import Path

import pytest

from support.control_plane_edge import control_plane_edge, says, waits
from support.server import eventually, in_process

TENANT = {"MOLECULE_ORG_ID": "org-1", "ADMIN_TOKEN": "hush-admin", "PLATFORM_URL": "https://acme.example.org"}
PATH = "/cp/tenants/config"


def everything_below(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


async def test_what_the_control_plane_gives_reaches_workspaces_and_no_file(tmp_path: Path) -> None:
    async with control_plane_edge() as plane:
        plane.answers[PATH] = says({"ANTHROPIC_API_KEY": "sk-of-the-plane", "LD_PRELOAD": "x"})
        async with in_process(tmp_path, **TENANT, MOLECULE_CP_URL=plane.url) as app:
            assert await app.services.secrets.environment("w") == {"ANTHROPIC_API_KEY": "sk-of-the-plane"}
    assert b"sk-of-the-plane" not in everything_below(tmp_path)


async def test_it_is_read_anew_at_each_start(tmp_path: Path) -> None:
    async with control_plane_edge() as plane:
        for value in ("first", "second"):
            plane.answers[PATH] = says({"OPENAI_API_KEY": value})
            async with in_process(tmp_path, **TENANT, MOLECULE_CP_URL=plane.url) as app:
                assert await app.services.secrets.environment("w") == {"OPENAI_API_KEY": value}


async def test_the_server_is_there_before_the_control_plane_answers_and_ends_without_it(tmp_path: Path) -> None:
    async with control_plane_edge() as plane, asyncio.timeout(8):
        plane.answers[PATH] = waits(asyncio.Event(), says({}))
        async with in_process(tmp_path, **TENANT, MOLECULE_CP_URL=plane.url) as app:
            assert (await app.call("GET", "/health")).status_code == 200


async def test_a_server_that_is_no_tenant_asks_nobody(tmp_path: Path) -> None:
    async with control_plane_edge() as plane:
        async with in_process(tmp_path, ADMIN_TOKEN="t", MOLECULE_CP_URL=plane.url) as app:
            assert await app.services.secrets.environment("w") == {}
            assert (app.services.members, app.services.upstream) == (None, None)
        assert plane.seen == []


@pytest.mark.parametrize("missing", ["MOLECULE_ORG_SLUG", "CP_UPSTREAM_URL"])
async def test_sessions_count_only_where_slug_and_control_plane_are_named(tmp_path: Path, missing: str) -> None:
    named = {"MOLECULE_ORG_SLUG": "acme", "CP_UPSTREAM_URL": "http://127.0.0.1:1"}
    del named[missing]
    async with in_process(tmp_path, **named) as app:
        assert app.services.members is None


async def test_no_number_of_slow_calls_keeps_a_session_from_being_checked(tmp_path: Path) -> None:
    async with control_plane_edge() as plane:
        plane.answers["/cp/auth/me"] = waits(asyncio.Event(), says({}))
        plane.answers["/cp/auth/tenant-member"] = says({"member": True, "user_id": "u-1"})
        async with in_process(tmp_path, CP_UPSTREAM_URL=plane.url, MOLECULE_ORG_SLUG="acme") as app:
            assert app.services.members is not None
            calls = [asyncio.create_task(app.call("GET", "/cp/auth/me")) for _ in range(110)]
            await eventually(lambda: len(plane.targets("/cp/auth/me")) >= 100, "all connections are in use")
            assert await app.services.members.has(b"session=1")
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
