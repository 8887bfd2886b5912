"""Workspaces over HTTP: what a create takes and answers, the two forms of a workspace, removal."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from support.rows import workspace
from support.server import InProcess, in_process
from workspace_server.runtimes import BUILT_IN

pytestmark = pytest.mark.asyncio(loop_scope="module")

INVALID_FIELDS = "invalid workspace fields"


async def create(app: InProcess, **body: Any) -> dict[str, Any]:
    response = await app.call("POST", "/workspaces", json=body)
    assert response.status_code == 201, response.text
    created: dict[str, Any] = response.json()
    return created


async def read(app: InProcess, identity: str) -> dict[str, Any]:
    form: dict[str, Any] = (await app.call("GET", f"/workspaces/{identity}")).json()
    return form


async def listed(app: InProcess) -> list[dict[str, Any]]:
    forms: list[dict[str, Any]] = (await app.call("GET", "/workspaces")).json()
    return forms


async def test_a_create_is_answered_with_the_id_before_anything_is_done(app: InProcess) -> None:
    created = await create(app, name="a")
    identity = created["id"]
    assert str(UUID(identity)) == identity
    assert created == {
        "id": identity,
        "status": "provisioning",
        "awareness_namespace": f"workspace:{identity}",
        "workspace_access": "none",
    }


async def test_a_create_keeps_what_it_was_given(app: InProcess) -> None:
    parent = await workspace(app)
    created = await create(
        app,
        name="A name",
        runtime="crewai",
        role="answers questions",
        tier=1,
        parent_id=parent,
        budget_limit=250,
        max_concurrent_tasks=3,
        canvas={"x": 1.5, "y": -2},
    )
    form = next(each for each in await listed(app) if each["id"] == created["id"])
    expected = {
        "name": "A name",
        "runtime": "crewai",
        "role": "answers questions",
        "tier": 1,
        "parent_id": parent,
        "budget_limit": 250,
        "max_concurrent_tasks": 3,
        "x": 1.5,
        "y": -2,
    }
    assert {key: form[key] for key in expected} == expected


async def test_a_create_fills_in_what_was_left_out(app: InProcess) -> None:
    form = await read(app, (await create(app, name="a"))["id"])
    expected = {"runtime": "langgraph", "role": None, "tier": 2, "parent_id": None, "max_concurrent_tasks": 1, "x": 0}
    assert {key: form[key] for key in expected} == expected


async def test_with_a_registry_the_tier_that_was_left_out_is_3(tmp_path: Path) -> None:
    async with in_process(tmp_path / "app", MOLECULE_IMAGE_REGISTRY="registry.example.org/molecule-ai") as registry_app:
        form = await read(registry_app, (await create(registry_app, name="a"))["id"])
    assert form["tier"] == 3


@pytest.mark.parametrize("given", [0, -5])
async def test_fewer_than_one_task_at_once_means_one(app: InProcess, given: int) -> None:
    created = await create(app, name="a", max_concurrent_tasks=given)
    assert (await read(app, created["id"]))["max_concurrent_tasks"] == 1


async def test_a_runtime_may_be_named_with_its_old_suffix(app: InProcess) -> None:
    assert (await read(app, (await create(app, name="a", runtime="codex-default"))["id"]))["runtime"] == "codex"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "x" * 256),
        ("name", "ü" * 128),  # bytes count
        ("name", "two\nlines"),
        ("name", "two\rlines"),
        *[("name", f"a{character}b") for character in "{}[]|>*&!"],
        ("role", "x" * 1001),
        ("role", "two\nlines"),
        ("role", "a & b"),
        ("model", "x" * 101),
        ("model", "two\nlines"),
        ("runtime", "x" * 101),
        ("runtime", "two\nlines"),
    ],
)
async def test_a_text_beyond_its_rules_is_refused(app: InProcess, field: str, value: str) -> None:
    response = await app.call("POST", "/workspaces", json={"name": "a", field: value})
    assert response.status_code == 400
    assert (response.json()["error"], response.json()["code"]) == (INVALID_FIELDS, "invalid_request")


@pytest.mark.parametrize(("field", "value"), [("name", "ü" * 127), ("role", "x" * 1000), ("model", "x" * 100)])
async def test_a_text_at_its_limit_is_taken(app: InProcess, field: str, value: str) -> None:
    assert await create(app, **{"name": "a", field: value})


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x7f"])
@pytest.mark.parametrize("field", ["name", "role"])
async def test_a_text_with_control_characters_never_reaches_a_container(
    app: InProcess, field: str, character: str
) -> None:
    """A NUL ends an environment variable, the others steer terminals."""
    response = await app.call("POST", "/workspaces", json={"name": "a", field: f"a{character}b"})
    assert (response.status_code, response.json().get("error")) == (400, INVALID_FIELDS)


async def test_an_unknown_runtime_is_refused_with_the_known_ones(app: InProcess) -> None:
    before = len(await listed(app))
    response = await app.call("POST", "/workspaces", json={"name": "a", "runtime": "nope"})
    assert response.status_code == 400
    assert response.json() == {
        "error": "unknown runtime: nope",
        "code": "unknown_runtime",
        "hint": f"known runtimes: {', '.join(sorted(BUILT_IN))}",
    }
    assert len(await listed(app)) == before


@pytest.mark.parametrize("tier", [-1, 5])
async def test_a_tier_that_does_not_exist_is_refused(app: InProcess, tier: int) -> None:
    response = await app.call("POST", "/workspaces", json={"name": "a", "tier": tier})
    assert response.status_code == 400
    assert response.json() == {"error": "tier must be from 1 to 4", "code": "invalid_tier"}


async def test_a_tier_above_the_operators_highest_is_refused(tmp_path: Path) -> None:
    async with in_process(tmp_path / "app", MOLECULE_MAX_TIER="1") as capped:
        response = await capped.call("POST", "/workspaces", json={"name": "a", "tier": 2})
        assert (response.status_code, response.json()["error"]) == (400, "tier must be from 1 to 1")
        assert (await read(capped, (await create(capped, name="a"))["id"]))["tier"] == 1


@pytest.mark.parametrize("parent", ["00000000-0000-4000-8000-000000000000", "nope", ""])
async def test_a_parent_that_does_not_exist_is_refused(app: InProcess, parent: str) -> None:
    response = await app.call("POST", "/workspaces", json={"name": "a", "parent_id": parent})
    assert response.status_code == 400
    assert response.json() == {"error": f"there is no parent workspace {parent}", "code": "unknown_parent"}


async def test_a_removed_parent_is_refused(app: InProcess) -> None:
    parent = await workspace(app)
    await app.call("DELETE", f"/workspaces/{parent}")
    response = await app.call("POST", "/workspaces", json={"name": "a", "parent_id": parent})
    assert (response.status_code, response.json()["code"]) == (400, "unknown_parent")


@pytest.mark.parametrize(("field", "value"), [("initial_memories", [{"content": "x"}])])
async def test_what_this_version_cannot_do_is_refused_by_name(app: InProcess, field: str, value: Any) -> None:
    response = await app.call("POST", "/workspaces", json={"name": "a", field: value})
    assert response.status_code == 400
    assert response.json() == {
        "error": f"{field} is not supported by this version",
        "code": "not_supported",
        "hint": f"leave {field} out",
    }


@pytest.mark.parametrize(
    "nothing",
    [{"template": ""}, {"external": False}, {"workspace_access": "none"}, {"secrets": {}}, {"initial_memories": []}],
)
async def test_asking_for_nothing_is_no_reason_to_refuse(app: InProcess, nothing: dict[str, Any]) -> None:
    assert await create(app, name="a", **nothing)


async def test_the_form_of_one_workspace(app: InProcess) -> None:
    parent = await workspace(app)
    seen = datetime(2026, 1, 2, 3, 4, 5, 600000, tzinfo=UTC)
    identity = await workspace(
        app,
        parent_id=parent,
        spec={"role": "r", "runtime": "hermes", "budget_limit": 5, "x": 1.0, "y": 2.5, "max_concurrent_tasks": 2},
        agent_card={"name": "card"},
        url="http://127.0.0.1:4711",
        active_tasks=1,
        current_task="thinking",
        uptime_seconds=60,
        last_error_rate=0.25,
        last_sample_error="oops",
        last_outbound_at=seen,
        collapsed=True,
    )
    assert await read(app, identity) == {
        "id": identity,
        "name": "a",
        "role": "r",
        "tier": 2,
        "status": "online",
        "agent_card": {"name": "card"},
        "url": "http://127.0.0.1:4711",
        "parent_id": parent,
        "active_tasks": 1,
        "max_concurrent_tasks": 2,
        "last_error_rate": 0.25,
        "uptime_seconds": 60,
        "runtime": "hermes",
        "x": 1,
        "y": 2.5,
        "collapsed": True,
        "last_outbound_at": "2026-01-02T03:04:05.6Z",
    }


async def test_the_form_of_a_workspace_in_the_list(app: InProcess) -> None:
    """What one workspace's form hides, the owner reads here: it alone is for everybody."""
    identity = await workspace(
        app, spec={"budget_limit": 5}, last_sample_error="oops", current_task="thinking", monthly_spend=7
    )
    single = await read(app, identity)
    del single["last_outbound_at"]
    more = {
        "last_sample_error": "oops",
        "current_task": "thinking",
        "workspace_dir": None,
        "budget_limit": 5,
        "monthly_spend": 7,
    }
    assert next(each for each in await listed(app) if each["id"] == identity) == {**single, **more}


async def test_what_is_not_there_is_null_or_empty(app: InProcess) -> None:
    identity = await workspace(app)
    form = next(each for each in await listed(app) if each["id"] == identity)
    nothing = {"role": None, "agent_card": None, "url": "", "parent_id": None, "budget_limit": None}
    nothing |= {"last_sample_error": "", "current_task": "", "monthly_spend": 0, "last_error_rate": 0}
    assert {key: form[key] for key in nothing} == nothing


async def test_the_list_is_oldest_first(app: InProcess) -> None:
    made = [await workspace(app) for _ in range(5)]
    assert [each["id"] for each in await listed(app) if each["id"] in made] == made


async def test_an_empty_list_is_an_array(tmp_path: Path) -> None:
    async with in_process(tmp_path / "app") as empty:
        assert (await empty.call("GET", "/workspaces")).content == b"[]"
        assert (await empty.call("GET", "/images/builds")).content == b"[]"


@pytest.mark.parametrize("path", ["", "/provisioning"])
async def test_an_unknown_workspace_is_404(app: InProcess, path: str) -> None:
    response = await app.call("GET", f"/workspaces/{uuid4()}{path}")
    assert response.status_code == 404
    assert response.json() == {"error": "workspace not found", "code": "workspace_not_found"}


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("DELETE", ""), ("GET", "/provisioning"), ("DELETE", "?purge=true")]
)
@pytest.mark.parametrize("identity", ["nope", "%00", "1", "..%2e", "0123456789abcdef0123456789abcdeg"])
async def test_what_is_no_id_is_400(app: InProcess, method: str, path: str, identity: str) -> None:
    response = await app.call(method, f"/workspaces/{identity}{path}")
    assert response.status_code == 400
    assert response.json() == {"error": "invalid workspace ID", "code": "invalid_workspace_id"}
