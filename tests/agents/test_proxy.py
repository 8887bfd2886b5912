"""Messages to agents, through the server, to an agent that really listens."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from aiohttp import web

from support.ports import free_port
from support.rows import token_of, workspace
from support.server import InProcess
from workspace_server.agents.proxy import LARGEST_REPLY

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGE = {"role": "user", "parts": [{"kind": "text", "text": "grüß dich"}], "messageId": "m-1"}
WHOLE = {"jsonrpc": "2.0", "id": "r-1", "method": "message/send", "params": {"message": MESSAGE}}
Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass
class Agent:
    """What it was sent, and what it answers."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    answer: Answer | None = None

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.bodies.append(await request.read())
        return await self.answer(request) if self.answer else web.Response(body=b'{"result": 1.0}')


@pytest_asyncio.fixture(loop_scope="module")
async def agent() -> AsyncIterator[Agent]:
    agent = Agent()
    runner = web.ServerRunner(web.Server(agent.handle, handler_cancellation=True), shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    agent.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield agent
    await runner.cleanup()


async def send(app: InProcess, target: str, body: Any = WHOLE, **headers: str) -> tuple[int, bytes]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    response = await app.call("POST", f"/workspaces/{target}/a2a", content=content, headers=names)
    return response.status_code, response.content


def code(answer: tuple[int, bytes]) -> tuple[int, str]:
    return answer[0], json.loads(answer[1])["code"]


async def test_the_answer_comes_back_byte_for_byte(app: InProcess, agent: Agent) -> None:
    target = await workspace(app, url=agent.url)
    response = await app.call("POST", f"/workspaces/{target}/a2a", json=WHOLE)
    assert (response.status_code, response.content) == (200, b'{"result": 1.0}')
    assert response.headers["content-type"] == "application/json"


async def test_a_message_reaches_an_agent_that_runs_elsewhere(app: InProcess, agent: Agent) -> None:
    body = {"name": "a", "external": True, "url": agent.url}
    target = (await app.call("POST", "/workspaces", json=body)).json()["id"]
    assert await send(app, target) == (200, b'{"result": 1.0}')
    assert [json.loads(each) for each in agent.bodies] == [WHOLE]


async def test_an_agent_whose_url_leads_where_none_may_be_is_sent_nothing(app: InProcess) -> None:
    target = await workspace(app, spec={"runtime": "external"}, url="http://169.254.169.254/latest")
    assert code(await send(app, target)) == (400, "agent_url_refused")


@pytest.mark.parametrize("status", [201, 302, 404, 500])
async def test_the_agents_status_comes_back(app: InProcess, agent: Agent, status: int) -> None:
    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, text="{}", headers={"Location": "http://203.0.113.9/"})

    agent.answer = answer
    assert await send(app, await workspace(app, url=agent.url)) == (status, b"{}")
    assert len(agent.bodies) == 1


async def test_a_whole_message_arrives_as_it_was_sent(app: InProcess, agent: Agent) -> None:
    await send(app, await workspace(app, url=agent.url))
    assert json.loads(agent.bodies[0]) == WHOLE


async def test_what_was_left_out_is_filled_in(app: InProcess, agent: Agent) -> None:
    message = {"role": "user", "parts": []}
    await send(app, await workspace(app, url=agent.url), {"method": "message/send", "params": {"message": message}})
    body = json.loads(agent.bodies[0])
    assert UUID(body.pop("id"))
    assert UUID(body["params"]["message"].pop("messageId"))
    assert body == {"jsonrpc": "2.0", "method": "message/send", "params": {"message": message}}


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b'"text"', b"null", b"\xff", b"[" * 200_000),
        *(b'{"method":"\\ud800"}', b'{"method":"a","params":NaN}'),
    ],
)
async def test_what_is_no_json_object_is_400_and_not_sent(app: InProcess, agent: Agent, body: bytes) -> None:
    assert code(await send(app, await workspace(app, url=agent.url), body)) == (400, "invalid_json")
    assert agent.bodies == []


async def test_a_message_to_a_removed_workspace_is_404(app: InProcess, agent: Agent) -> None:
    target = await workspace(app, url=agent.url)
    await app.call("DELETE", f"/workspaces/{target}")
    assert code(await send(app, target)) == (404, "workspace_not_found")


async def test_an_agent_that_is_gone_is_503(app: InProcess) -> None:
    target = await workspace(app, url=f"http://127.0.0.1:{free_port()}", spec={"name": "gone"})
    status, body = await send(app, target)
    assert status == 503
    assert json.loads(body) == {
        "error": "the agent of gone cannot be reached",
        "code": "agent_unavailable",
        "hint": f"GET /workspaces/{target}/provisioning and the container's log say more",
    }


async def test_an_agent_that_hangs_up_is_503(app: InProcess, agent: Agent) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    agent.answer = answer
    assert code(await send(app, await workspace(app, url=agent.url))) == (503, "agent_unavailable")


async def test_an_agent_that_is_silent_for_longer_than_the_caller_waits_is_504(app: InProcess, agent: Agent) -> None:
    gone = asyncio.Event()

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        return web.Response()

    agent.answer = answer
    answered = await send(app, await workspace(app, url=agent.url, spec={"name": "slow"}), X_Timeout="1")
    assert answered[0] == 504
    assert json.loads(answered[1]) == {
        "error": "the agent of slow did not answer in time",
        "code": "agent_timeout",
        "hint": "it may be busy; try later",
    }
    await asyncio.wait_for(gone.wait(), 5)


async def test_an_agent_that_answers_in_drops_does_not_outlast_the_callers_patience(
    app: InProcess, agent: Agent
) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.2)

    agent.answer = answer
    assert code(await send(app, await workspace(app, url=agent.url), X_Timeout="1")) == (504, "agent_timeout")


async def test_an_answer_that_never_ends_is_ended_here(app: InProcess, agent: Agent) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(12):
            await response.write(bytes(1024 * 1024))
        return response

    agent.answer = answer
    assert code(await send(app, await workspace(app, url=agent.url))) == (500, "reply_too_large")


async def test_an_answer_at_the_limit_passes(app: InProcess, agent: Agent) -> None:
    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=bytes(LARGEST_REPLY))

    agent.answer = answer
    assert await send(app, await workspace(app, url=agent.url)) == (200, bytes(LARGEST_REPLY))


async def test_a_workspace_talks_to_its_siblings_as_itself(app: InProcess, agent: Agent) -> None:
    caller, target = await workspace(app), await workspace(app, url=agent.url)
    token = await token_of(app, caller)
    assert (await send(app, target, Authorization=f"Bearer {token}"))[0] == 200
    row = await app.services.store.get(caller)
    assert row is not None
    assert row.last_outbound_at is not None


async def test_a_workspace_talks_to_no_stranger(app: InProcess, agent: Agent) -> None:
    target = await workspace(app, url=agent.url, parent_id=await workspace(app))
    token = await token_of(app, await workspace(app))
    answer = await send(app, target, Authorization=f"Bearer {token}")
    assert code(answer) == (403, "not_related")
    assert json.loads(answer[1])["error"] == "access denied: workspaces cannot communicate per hierarchy rules"
    assert agent.bodies == []


async def test_a_workspace_cannot_speak_for_another(app: InProcess, agent: Agent) -> None:
    caller, other, target = await workspace(app), await workspace(app), await workspace(app, url=agent.url)
    token = await token_of(app, caller)
    answer = await send(app, target, Authorization=f"Bearer {token}", X_Workspace_ID=other)
    assert code(answer) == (403, "forbidden")
    assert agent.bodies == []


async def test_a_person_may_speak_for_a_workspace_under_its_rules(app: InProcess, agent: Agent) -> None:
    stranger, parent = await workspace(app), await workspace(app)
    target = await workspace(app, url=agent.url, parent_id=parent)
    assert (await send(app, target, X_Workspace_ID=parent))[0] == 200
    assert code(await send(app, target, X_Workspace_ID=stranger)) == (403, "not_related")


@pytest.mark.parametrize("name", ["system:cron", "webhook:github", "test:a", "channel:slack"])
async def test_the_names_of_the_systems_own_callers_cannot_be_used(app: InProcess, agent: Agent, name: str) -> None:
    answer = await send(app, await workspace(app, url=agent.url), X_Workspace_ID=name)
    assert (code(answer), json.loads(answer[1])["error"]) == ((403, "reserved_caller"), "invalid caller ID")
    assert agent.bodies == []


async def test_it_knows_to_whom_a_message_is_under_way(app: InProcess, agent: Agent) -> None:
    target = await workspace(app, url=agent.url)
    talking: list[bool] = []

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        talking.append(app.services.proxy.talks_to(target))
        return web.Response(status=500)

    agent.answer = answer
    before = app.services.proxy.talks_to(target)
    await send(app, target)

    assert (before, talking, app.services.proxy.talks_to(target)) == (False, [True], False)


async def test_a_message_that_found_nobody_is_under_way_no_more(app: InProcess) -> None:
    target = await workspace(app, url=f"http://127.0.0.1:{free_port()}")
    await send(app, target)

    assert not app.services.proxy.talks_to(target)
