"""Who may do what: every route, every kind of caller, in one table."""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import sqlalchemy as sa
from aiohttp import web
from starlette.routing import BaseRoute, Mount, Route

from support.control_plane_edge import control_plane_edge
from support.rows import build, token_of, workspace
from support.server import NO_ENGINE, InProcess, in_process

from .conftest import ADMIN_TOKEN
from .on_engine import OnEngine, on_engine

ORG = "org-1"
HOST = "acme.example.org"
SESSION = "theme=dark; session=of-a-member"

pytestmark = pytest.mark.asyncio(loop_scope="module")

STRANGER = "203.0.113.9"

OPEN = dict.fromkeys(("person", "own", "other", "address", "anyone", "nobody"), 200)
PEOPLE = {**OPEN, "own": 403, "other": 403, "address": 403, "anyone": 401, "nobody": 401}
OWN_READS = {**PEOPLE, "own": 200}
ITSELF = {**OWN_READS, "person": 403}
KNOWN = {**OPEN, "anyone": 401, "nobody": 401}
AGENT = {**dict.fromkeys(OPEN, 401), "own": 200}
NEW_AGENT = {**dict.fromkeys(OPEN, 401), "person": 200, "address": 200}

LET_IN = 0

REGISTER = {"id": "{workspace_id}", "url": "http://agent:8000", "agent_card": {}}
HEARTBEAT = {"workspace_id": "{workspace_id}"}
SECRET = {"key": "A", "value": "x"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Which status each class of callers gets; ``done`` instead of 200 where the handler answers otherwise.

    ``LET_IN`` is for handlers that need more than there is here: anything but a refusal.
    """

    rule: dict[str, int]
    body: Mapping[str, Any] = field(default_factory=dict)
    query: str = ""
    done: int = 200
    has_token: bool = True  # the workspace that the path or the body names


ROUTES = {
    "GET /health": Access(rule=OPEN),
    "GET /ready": Access(rule=OPEN, done=503),
    "GET /openapi.json": Access(rule=OPEN),
    "GET /docs": Access(rule=OPEN),
    "GET /docs/oauth2-redirect": Access(rule=OPEN),
    "GET /redoc": Access(rule=OPEN),
    "GET /static-offline-docs/favicon.png": Access(rule=OPEN),
    "POST /workspaces": Access(rule=PEOPLE, body={"name": "a"}, done=201),
    "GET /workspaces": Access(rule=PEOPLE),
    "GET /workspaces/{workspace_id}": Access(rule=KNOWN),
    "PATCH /workspaces/{workspace_id}": Access(rule=OWN_READS, body={"name": "a"}),
    "GET /workspaces/{workspace_id}/provisioning": Access(rule=OWN_READS),
    "GET /workspaces/{workspace_id}/logs": Access(rule=OWN_READS, done=LET_IN),
    "GET /workspaces/{workspace_id}/console": Access(rule=PEOPLE, done=501),
    "POST /admin/workspaces/{workspace_id}/bootstrap-failed": Access(rule=PEOPLE, body={"error": "x"}),
    # Let in: the agent of the workspace does not run.
    "POST /workspaces/{workspace_id}/a2a": Access(rule=KNOWN, body={"method": "message/send"}, done=503),
    "POST /workspaces/{workspace_id}/restart": Access(rule=OWN_READS),
    "POST /workspaces/{workspace_id}/hibernate": Access(rule=OWN_READS, done=404),
    "POST /workspaces/{workspace_id}/pause": Access(rule=OWN_READS),
    "POST /workspaces/{workspace_id}/resume": Access(rule=OWN_READS),
    "GET /workspaces/{workspace_id}/secrets": Access(rule=OWN_READS),
    "POST /workspaces/{workspace_id}/secrets": Access(rule=OWN_READS, body=SECRET),
    "PUT /workspaces/{workspace_id}/secrets": Access(rule=OWN_READS, body=SECRET),
    "GET /workspaces/{workspace_id}/secrets/values": Access(rule=ITSELF),
    "DELETE /workspaces/{workspace_id}/secrets/{key}": Access(rule=OWN_READS),
    "GET /settings/secrets": Access(rule=PEOPLE),
    "POST /settings/secrets": Access(rule=PEOPLE, body=SECRET),
    "PUT /settings/secrets": Access(rule=PEOPLE, body=SECRET),
    "DELETE /settings/secrets/{key}": Access(rule=PEOPLE),
    "GET /admin/secrets": Access(rule=PEOPLE),
    "POST /admin/secrets": Access(rule=PEOPLE, body=SECRET),
    "DELETE /admin/secrets/{key}": Access(rule=PEOPLE),
    "POST /registry/register": Access(rule=AGENT, body=REGISTER),
    "POST /registry/register of a new agent": Access(rule=NEW_AGENT, body=REGISTER, has_token=False),
    "POST /registry/heartbeat": Access(rule=AGENT, body=HEARTBEAT),
    "POST /registry/heartbeat of a new agent": Access(rule=NEW_AGENT, body=HEARTBEAT, has_token=False),
    "GET /runtimes": Access(rule=PEOPLE, done=LET_IN),
    "GET /images": Access(rule=PEOPLE, done=LET_IN),
    "GET /images/explain": Access(rule=PEOPLE, query="?runtime=langgraph", done=LET_IN),
    "POST /images/prune": Access(rule=PEOPLE, body={"dry_run": True}, done=LET_IN),
    "POST /images/builds": Access(rule=PEOPLE, body={"runtime": "langgraph"}, done=LET_IN),
    "GET /images/builds": Access(rule=PEOPLE),
    "GET /images/builds/{build}": Access(rule=PEOPLE),
    "GET /images/builds/{build}/log": Access(rule=PEOPLE),
    "DELETE /images/builds/{build}": Access(rule=PEOPLE, done=409),
    "POST /admin/workspace-images/refresh": Access(rule=PEOPLE, query="?runtime=langgraph", done=LET_IN),
    "DELETE /workspaces/{workspace_id}": Access(rule=PEOPLE),  # the last: afterwards it is gone
}


@dataclass(frozen=True, slots=True)
class Sender:
    """How one kind of caller sends: its class in the rules, its address, its headers, what it shows as its bearer."""

    kind: str
    peer: str = "127.0.0.1"
    headers: dict[str, str] = field(default_factory=dict)
    bearer: str | None = None
    gateway: bool = False


SENDERS = {
    "owner by loopback": Sender("person"),
    "owner by IPv6 loopback": Sender("person", "::1", {"Host": "[::1]:8080"}),
    "owner by another loopback address": Sender("person", "127.0.0.2"),
    "owner who types localhost": Sender("person", headers={"Host": "localhost:8080"}),
    "owner's page of this server": Sender("person", headers={"Origin": "http://127.0.0.1:8080"}),
    "owner's page of a known origin": Sender("person", headers={"Origin": "http://localhost:3000"}),
    "owner's page on the same site": Sender("person", headers={"Sec-Fetch-Site": "same-site"}),
    "owner by token from anywhere": Sender("person", STRANGER, bearer="owner"),
    "owner by token through a proxy": Sender("person", headers={"X-Forwarded-For": STRANGER}, bearer="owner"),
    "workspace by its token": Sender("own", STRANGER, bearer="own"),
    "workspace by its token on loopback": Sender("own", bearer="own"),
    "workspace by its token on the gateway": Sender("own", "172.31.0.9", bearer="own", gateway=True),
    "another workspace by its token": Sender("other", STRANGER, bearer="other"),
    "another workspace on loopback": Sender("other", bearer="other"),
    "a bearer that nobody has": Sender("nobody", bearer="nobody"),
    "anyone on the network": Sender("anyone", STRANGER),
    "anyone with a local Host": Sender("anyone", STRANGER, {"Host": "localhost:8080"}),
    "anyone who claims a workspace": Sender("anyone", STRANGER, {"X-Workspace-ID": "{workspace_id}"}),
    "loopback on the gateway": Sender("anyone", gateway=True),
    "loopback by a foreign name": Sender("anyone", headers={"Host": "evil.example"}),
    "loopback by a similar name": Sender("anyone", headers={"Host": "localhost.evil.example:8080"}),
    "loopback without a name": Sender("anyone", headers={"Host": ""}),
    "loopback from another site": Sender("anyone", headers={"Sec-Fetch-Site": "cross-site"}),
    **{
        f"loopback for somebody else, by {name}": Sender("anyone", headers={name: STRANGER})
        for name in (
            *("Forwarded", "Via", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"),
            *("X-Forwarded-Port", "X-Forwarded-Server"),
        )
    },
}
WITH_ADMINISTRATOR = {
    "administrator by token": Sender("person", STRANGER, bearer=ADMIN_TOKEN),
    "administrator through a proxy": Sender("person", headers={"Via": "1.1 proxy"}, bearer=ADMIN_TOKEN),
    "loopback where there is an administrator": Sender("anyone"),
    "a bearer that is almost the administrator's": Sender("nobody", bearer=ADMIN_TOKEN[:-1]),
    "workspace where there is an administrator": Sender("own", bearer="own"),
    "another workspace where there is an administrator": Sender("other", bearer="other"),
}
OWNER_NEEDS_TOKEN = {
    "loopback where the owner needs a token": Sender("anyone"),
    "owner who shows the token": Sender("person", bearer="owner"),
}
FOREIGN_PAGES = {
    "a foreign page on loopback": Sender("page", headers={"Origin": "http://evil.example"}),
    "a foreign page with the owner's token": Sender("page", headers={"Origin": "http://evil.example"}, bearer="owner"),
    "a page of no origin": Sender("page", headers={"Origin": "null"}),
}
OWN_PAGE = {"Host": HOST, "Origin": f"https://{HOST}", "Sec-Fetch-Site": "same-origin"}
NAMED = {"X-Molecule-Org-Id": ORG}
MEMBERS = {
    "member on this server's page": Sender("person", STRANGER, {**OWN_PAGE, "Cookie": SESSION}),
    "member whose browser tells the origin alone": Sender(
        "person", STRANGER, {"Host": HOST, "Origin": f"https://{HOST}", "Cookie": SESSION}
    ),
    "member whose browser tells the site alone": Sender(
        "person", STRANGER, {"Host": HOST, "Sec-Fetch-Site": "same-origin", "Cookie": SESSION}
    ),
    "member whose browser tells of no page": Sender("reader", STRANGER, {**NAMED, "Cookie": SESSION}),
    "member who types the address": Sender("reader", STRANGER, {**NAMED, "Cookie": SESSION, "Sec-Fetch-Site": "none"}),
    "member on a foreign page": Sender(
        "anyone", STRANGER, {**NAMED, "Cookie": SESSION, "Sec-Fetch-Site": "cross-site"}
    ),
    "member on a sister's page": Sender(
        "anyone", STRANGER, {**NAMED, "Cookie": SESSION, "Sec-Fetch-Site": "same-site"}
    ),
    "member on a page of a known origin": Sender(
        "anyone", STRANGER, {**NAMED, "Cookie": SESSION, "Origin": "http://localhost:3000"}
    ),
    "somebody else's session": Sender("anyone", STRANGER, {**OWN_PAGE, "Cookie": f"{SESSION}x"}),
    "a page without a session": Sender("anyone", STRANGER, OWN_PAGE),
    "member who shows a bearer that nobody has": Sender(
        "nobody", STRANGER, {**OWN_PAGE, "Cookie": SESSION}, bearer="nobody"
    ),
    "workspace beside a member's session": Sender("own", STRANGER, {**OWN_PAGE, "Cookie": SESSION}, bearer="own"),
    "administrator of the tenant": Sender("person", STRANGER, NAMED, bearer=ADMIN_TOKEN),
    "administrator whom the router sent": Sender(
        "person", STRANGER, {"Fly-Replay-Src": f"instance=1;state={ORG}"}, bearer=ADMIN_TOKEN
    ),
    "another workspace of the tenant": Sender("other", STRANGER, NAMED, bearer="other"),
    "loopback on the tenant": Sender("anyone", headers=NAMED),
}
ELSEWHERE = {
    "anyone who names no organisation": Sender("elsewhere", STRANGER),
    "anyone who names another": Sender("elsewhere", STRANGER, {"X-Molecule-Org-Id": "org-2"}),
    "loopback that names none": Sender("elsewhere"),
    "member who names another": Sender("elsewhere", STRANGER, {"X-Molecule-Org-Id": "org-2", "Cookie": SESSION}),
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
BY_BACKEND = ("/images", "/admin/workspace-images/", "/ready", "/workspaces/{workspace_id}/console")
"""What these answer depends on what starts workspaces; whom they let in does not."""
FOR_EVERYBODY = ("GET /health", "POST /registry/register", "POST /registry/heartbeat")
ADDRESSES = {
    "address of the workspace's container": Sender("address", "{address}", {"X-Workspace-ID": "{workspace_id}"}),
    "address without a claim": Sender("anyone", "{address}"),
    "address that claims another workspace": Sender("anyone", "{address}", {"X-Workspace-ID": "{other_id}"}),
    "address of no container": Sender("anyone", "172.31.255.9", {"X-Workspace-ID": "{workspace_id}"}),
}


@pytest.mark.parametrize("sender", SENDERS)
async def test_access(app: InProcess, sender: str) -> None:
    await compare(app, SENDERS[sender], await workspace(app))


@pytest.mark.parametrize("sender", WITH_ADMINISTRATOR)
async def test_access_with_an_administrator(admin_app: InProcess, sender: str) -> None:
    await compare(admin_app, WITH_ADMINISTRATOR[sender], await workspace(admin_app))


@pytest.mark.parametrize("sender", OWNER_NEEDS_TOKEN)
async def test_access_where_the_owner_needs_a_token(careful_app: InProcess, sender: str) -> None:
    await compare(careful_app, OWNER_NEEDS_TOKEN[sender], await workspace(careful_app))


@pytest.mark.parametrize("sender", FOREIGN_PAGES)
async def test_pages_of_foreign_origins_are_refused_everywhere(app: InProcess, sender: str) -> None:
    await compare(app, FOREIGN_PAGES[sender], await workspace(app))


@pytest.mark.parametrize("sender", MEMBERS)
async def test_access_to_a_hosted_tenant(tenant_app: InProcess, sender: str) -> None:
    await compare(tenant_app, MEMBERS[sender], await workspace(tenant_app))


@pytest.mark.parametrize("sender", ELSEWHERE)
async def test_a_hosted_tenant_is_not_there_for_others(tenant_app: InProcess, sender: str) -> None:
    await compare(tenant_app, ELSEWHERE[sender], await workspace(tenant_app))


@pytest.mark.engine
@pytest.mark.parametrize("sender", ADDRESSES)
async def test_access_by_address(engine_app: OnEngine, sender: str) -> None:
    """A request through the gateway from the address that the engine gave to a running workspace container."""
    known = ADDRESSES[sender]
    through_gateway = replace(known, peer=known.peer.format(address=engine_app.address), gateway=True)
    await compare(engine_app.app, through_gateway, engine_app.workspace)


@pytest.mark.engine
async def test_an_address_counts_on_the_gateway_only(engine_app: OnEngine) -> None:
    elsewhere = Sender("anyone", engine_app.address, {"X-Workspace-ID": "{workspace_id}"})
    await compare(engine_app.app, elsewhere, engine_app.workspace)


@pytest.mark.engine
async def test_with_an_administrator_an_address_counts_on_the_one_listener(
    engine_url: str, workspace_network: None, tmp_path: Path
) -> None:
    async with on_engine(tmp_path, engine_url, ADMIN_TOKEN=ADMIN_TOKEN) as opened:
        sender = Sender("address", opened.address, {"X-Workspace-ID": "{workspace_id}"})
        await compare(opened.app, sender, opened.workspace)


async def test_every_route_is_in_the_table(app: InProcess) -> None:
    found = {f"{method} {path}" for method, path in paths(app.app.routes)}
    known = {route.partition(" of ")[0] for route in ROUTES}
    assert {each for each in found if not each.startswith("GET /static-offline-docs/")} == known - {
        "GET /static-offline-docs/favicon.png"
    }


async def test_a_tenant_has_the_same_routes_and_those_of_the_control_plane(
    app: InProcess, tenant_app: InProcess
) -> None:
    relayed = {f"{method} /cp/{{path:path}}" for method in {*METHODS, "OPTIONS"} - {"HEAD"}}
    known, found = ({f"{method} {path}" for method, path in paths(each.app.routes)} for each in (app, tenant_app))
    assert found == known | relayed


@pytest.mark.parametrize("sender", {**MEMBERS, **ELSEWHERE})
@pytest.mark.parametrize("method", METHODS)
async def test_the_control_planes_paths_are_for_everybody(tenant_app: InProcess, sender: str, method: str) -> None:
    known = {**MEMBERS, **ELSEWHERE}[sender]
    bearer = {} if known.bearer is None else {"Authorization": f"Bearer {known.bearer}"}
    response = await tenant_app.call(method, "/cp/auth/me", peer=known.peer, headers={**known.headers, **bearer})
    assert response.status_code == 200


async def test_who_needs_a_session_is_told_to_sign_in(tenant_app: InProcess) -> None:
    response = await tenant_app.call("GET", "/workspaces", peer=STRANGER, headers=NAMED)
    assert response.json()["hint"].startswith("sign in, and call from a page of this server")


def paths(routes: list[BaseRoute]) -> Iterator[tuple[str, str]]:
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from paths(included.routes)
        elif isinstance(route, Mount):
            yield "GET", f"{route.path}/"
        else:
            assert isinstance(route, Route), f"an unknown kind of route: {route}"
            yield from ((method, route.path) for method in (route.methods or set()) - {"HEAD"})


async def compare(app: InProcess, sender: Sender, named: str) -> None:
    """Send to every route as this caller, and compare the statuses with the table."""
    expected, found = {}, {}
    hosted = app.services.settings.org_id is not None
    await forget_others(app, named)
    other = await workspace(app)
    other_token = await token_of(app, other)
    for route, access in ROUTES.items():
        if sender.bearer == "own" and not access.has_token:
            continue  # a new agent has nothing to show
        status = status_for(route, access, sender)
        done = LET_IN if hosted and route.split(" ")[1].startswith(BY_BACKEND) else access.done
        expected[route] = done if status == 200 else status
        response = await send(app, route, sender, named, (other, other_token))
        let_in = response.status_code not in (401, 403)
        found[route] = LET_IN if expected[route] == LET_IN and let_in else response.status_code
        if status != 200 and sender.kind not in ("page", "elsewhere"):
            assert response.json().keys() <= {"error", "code", "hint"}
    if app.services.settings.docker_host != NO_ENGINE:  # it can work
        expected["GET /ready"] = expected["GET /ready"] if sender.kind == "page" else 200
    assert found == expected


def status_for(route: str, access: Access, sender: Sender) -> int:
    """The status of a route for a caller, 200 for whoever is let in."""
    match sender.kind:
        case "page":
            return 403
        case "elsewhere" if not route.startswith(FOR_EVERYBODY):
            return 404
        case "elsewhere":
            return access.rule["anyone"]
        case "reader":
            return access.rule["person" if route.startswith("GET ") else "anyone"]
    return access.rule[sender.kind]


async def forget_others(app: InProcess, named: str) -> None:
    """Else each further caller's wishes would concern all the workspaces of those before."""
    async with app.services.database.write() as tx:
        await tx.connection.execute(sa.text("DELETE FROM workspaces WHERE id != :id"), {"id": named})


async def send(app: InProcess, route: str, sender: Sender, named: str, another: tuple[str, str]) -> httpx.Response:
    access, (other, other_token) = ROUTES[route], another
    async with app.services.database.write() as tx:
        await app.services.tokens.revoke_all(tx, named)
    shown = {"owner": app.services.owner_token, "nobody": "nobody's-token", "other": other_token}
    if access.has_token:
        shown["own"] = await token_of(app, named)
    one_build = "none" if app.services.settings.org_id else build(app).id  # a hosted tenant builds nothing
    values = {"workspace_id": named, "other_id": other, "build": one_build, "key": "A"}
    headers = {name: value.format(**values) for name, value in sender.headers.items()}
    if sender.bearer is not None:
        headers["Authorization"] = f"Bearer {shown.get(sender.bearer, sender.bearer)}"
    body = {key: value.format(**values) if isinstance(value, str) else value for key, value in access.body.items()}
    method, path = route.partition(" of ")[0].split(" ")
    return await app.call(
        method,
        path.format(**values) + access.query,
        peer=sender.peer,
        gateway=sender.gateway,
        headers=headers,
        json=body or None,
    )


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def careful_app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcess]:
    async with in_process(tmp_path_factory.mktemp("careful"), MOLECULE_OWNER_TOKEN="required") as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def tenant_app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcess]:
    async def member(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"member": request.headers["Cookie"] == SESSION, "user_id": "u-1"})

    async with control_plane_edge() as plane:
        plane.answers["/cp/auth/tenant-member"] = member
        variables = {
            "MOLECULE_ORG_ID": ORG,
            "MOLECULE_ORG_SLUG": "acme",
            "ADMIN_TOKEN": ADMIN_TOKEN,
            "PLATFORM_URL": f"https://{HOST}",
            "MOLECULE_CP_URL": plane.url,
            "CP_UPSTREAM_URL": plane.url,
        }
        async with in_process(tmp_path_factory.mktemp("tenant"), **variables) as opened:
            yield opened


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine_app(
    engine_url: str, workspace_network: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[OnEngine]:
    async with on_engine(tmp_path_factory.mktemp("engine"), engine_url) as opened:
        yield opened
