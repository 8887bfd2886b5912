"""A control plane on loopback, written from its protocol alone: it starts "machines", and can do so badly.

It keeps its own list of machines, which nothing but its own calls change. An order is known by workspace and
generation: whoever repeats one is told of the machine that was made, ended or not.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from .control_plane_agent import Agent, agent
from .registry import Certificate

SECRET = "the-shared-secret-of-tests"
TENANT_TOKEN = "the-tenant's-token-of-tests"
ADMIN_KEY = "the-admin-key-of-tests"
ORG = "org-of-tests"

ENDED = ("stopped", "terminated")
BIG = 10 * 1024 * 1024


@dataclass(slots=True)
class Machine:
    """One machine. ``state`` is the protocol's word for it."""

    id: str
    workspace_id: str
    generation: str
    env: Mapping[str, str]
    runtime: str
    tier: int
    platform_url: str
    state: str = "running"
    agent: Agent | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it came in."""

    kind: str
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. ``cut``: the connection ends after so many bytes of the body; at -1 before the head."""

    status: int = 200
    body: bytes = b"{}"
    content_type: str = "application/json; charset=utf-8"
    cut: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def told(status: int, **fields: Any) -> Answer:
    return Answer(status, json.dumps(fields).encode())


LOST = Answer(cut=-1)


@dataclass(slots=True)
class Fault:
    """What goes wrong with calls of one kind, the next ``times`` times; ``fired`` counts.

    ``acts`` says how often the call takes effect: 0, or 2 for one that is delivered twice. ``answer`` replaces the
    right one, or makes another of it. ``hold`` delays the effect, ``late`` the answer.
    """

    kind: str
    answer: Answer | Callable[[Answer], Answer] | None = None
    acts: int = 1
    times: int = 1
    hold: asyncio.Event | None = None
    late: float = 0.0
    fired: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    acted: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def answers(self) -> bool:
        """Whether who calls gets the right answer in time."""
        return self.answer is None and self.hold is None and not self.late


class ControlPlane:
    """What it did, and what it was asked."""

    def __init__(self, *, with_agents: bool) -> None:
        self.machines: dict[str, Machine] = {}
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.url = ""
        self.console = "booted\nagent started\n"
        self.away = False
        self.unanswered: set[str] = set()
        self._with_agents = with_agents
        self._orders: dict[tuple[str, str], str] = {}
        self._connections: set[asyncio.Task[Any]] = set()
        self.closing = False

    @property
    def running(self) -> list[Machine]:
        """The machines that cost something."""
        return [machine for machine in self.machines.values() if machine.state not in ENDED]

    def of(self, workspace: str) -> list[Machine]:
        """The machines of a workspace that cost something."""
        return [machine for machine in self.running if machine.workspace_id == workspace]

    def asked(self, kind: str) -> list[Call]:
        return [call for call in self.calls if call.kind == kind]

    def fault(self, kind: str, answer: Answer | Callable[[Answer], Answer] | None = None, **how: Any) -> Fault:
        self.faults.append(made := Fault(kind, answer, **how))
        return made

    def end(self, machine: Machine, state: str = "terminated") -> None:
        """It ends by itself, as machines do."""
        machine.state = state
        if machine.agent is not None:
            machine.agent.stop()

    async def take(self, call: Call) -> Answer:
        """Act on a call, as well as its fault allows."""
        self.calls.append(call)
        fault = next(
            (each for each in self.faults if each.kind in (call.kind, "any") and each.fired < each.times), None
        )
        if fault is None:
            return await self._act(call)
        fault.fired += 1
        fault.arrived.set()
        if fault.hold is not None:
            await fault.hold.wait()
        right = told(200)
        for _ in range(fault.acts):
            right = await self._act(call)
        if call.kind == "start" and not fault.answers:
            self.unanswered |= {
                each.id for each in self.machines.values() if each.workspace_id == call.json["workspace_id"]
            }
        fault.acted.set()
        await asyncio.sleep(fault.late)
        if callable(fault.answer):
            return fault.answer(right)
        return fault.answer or right

    async def _act(self, call: Call) -> Answer:
        if call.kind == "config":
            return told(200)
        expected = ADMIN_KEY if call.kind == "console" else SECRET
        if call.headers.get("authorization") != f"Bearer {expected}":
            return told(401, error="unknown caller")
        if call.headers.get("x-molecule-admin-token") != TENANT_TOKEN:
            return told(403, error="unknown tenant")
        handlers: Mapping[str, Callable[[Call], Awaitable[Answer]]] = {
            "start": self._start,
            "stop": self._stop,
            "status": self._status,
            "console": self._console,
        }
        handler = handlers.get(call.kind)
        return await handler(call) if handler else Answer(404, b"404 page not found", "text/plain")

    async def _start(self, call: Call) -> Answer:
        order = call.json
        if set(order) != {"org_id", "workspace_id", "runtime", "tier", "platform_url", "env"} or order["org_id"] != ORG:
            return told(400, error="unknown fields")
        key = (order["workspace_id"], order["env"]["WORKSPACE_GENERATION"])
        if key not in self._orders:
            machine = Machine(
                id=f"i-{len(self.machines):08x}",
                workspace_id=key[0],
                generation=key[1],
                env=order["env"],
                runtime=order["runtime"],
                tier=order["tier"],
                platform_url=order["platform_url"],
            )
            self.machines[machine.id] = machine
            self._orders[key] = machine.id
            if self._with_agents:
                machine.agent = agent(machine.platform_url, machine.workspace_id)
        machine = self.machines[self._orders[key]]
        return told(201, instance_id=machine.id, private_ip="10.0.0.7", state=machine.state)

    async def _stop(self, call: Call) -> Answer:
        machine = self._named(call)
        if isinstance(machine, Answer):
            return machine
        self.end(machine)
        return told(200, state="terminated")

    async def _status(self, call: Call) -> Answer:
        machine = self._named(call)
        return machine if isinstance(machine, Answer) else told(200, state=machine.state)

    async def _console(self, call: Call) -> Answer:
        workspace = call.path.split("/")[4]
        if not any(machine.workspace_id == workspace for machine in self.machines.values()):
            return told(404, error="no instance")
        return told(200, output=self.console)

    def _named(self, call: Call) -> Machine | Answer:
        workspace, named = call.path.split("/")[3], call.query.get("instance_id", [""])[0]
        if named in ("", workspace):
            return told(400, error="InvalidInstanceID.Malformed")
        machine = self.machines.get(named)
        if machine is None or machine.workspace_id != workspace:
            return told(404, error="no such instance")
        return machine

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while not self.away and (call := await _read(reader)) is not None:
                    if self.away:
                        break
                    if not await _write(writer, await self.take(call)):
                        break
        except asyncio.CancelledError:
            pass  # the end of the test
        finally:
            self._connections.discard(task)
            writer.transport.abort() if self.closing else writer.close()

    async def close(self) -> None:
        self.closing = True
        for task in (tasks := list(self._connections)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for machine in self.machines.values():
            if machine.agent is not None:
                await machine.agent.close()


async def _read(reader: asyncio.StreamReader) -> Call | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    start, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = start.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    return Call(_kind(method, parts.path), method, unquote(parts.path), parse_qs(parts.query), headers, body)


def _kind(method: str, path: str) -> str:
    match method, path.split("/")[1:]:
        case "POST", ["cp", "workspaces", "provision"]:
            return "start"
        case "DELETE", ["cp", "workspaces", _]:
            return "stop"
        case "GET", ["cp", "workspaces", _, "status"]:
            return "status"
        case "GET", ["cp", "admin", "workspaces", _, "console"]:
            return "console"
        case "GET", ["cp", "tenants", "config"]:
            return "config"
        case _:
            return "unknown"


async def _write(writer: asyncio.StreamWriter, answer: Answer) -> bool:
    """Whether the connection goes on."""
    if answer.cut == -1:
        return False
    headers = {"Content-Type": answer.content_type, "Content-Length": str(len(answer.body)), **answer.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
    writer.write(f"HTTP/1.1 {answer.status} Some Words\r\n{lines}\r\n".encode() + answer.body[: answer.cut])
    await writer.drain()
    return answer.cut is None


@asynccontextmanager
async def control_plane(*, tls: Certificate | None = None, with_agents: bool = False) -> AsyncIterator[ControlPlane]:
    """Run one. Its machines run agents that call their server by themselves, if wanted."""
    opened = ControlPlane(with_agents=with_agents)
    context = None
    if tls is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls.certificate, tls.key)
    server = await asyncio.start_server(opened.serve, "127.0.0.1", 0, ssl=context)
    opened.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield opened
    finally:
        server.close()
        await opened.close()


def variables(served: ControlPlane, platform_url: str = "http://127.0.0.1:8080", **others: str) -> dict[str, str]:
    """The environment of a server that works for it."""
    return {
        "MOLECULE_ORG_ID": ORG,
        "MOLECULE_DEPLOY_MODE": "self-hosted",  # the agents of the tests are on this machine
        "MOLECULE_CP_URL": served.url,
        "MOLECULE_CP_SHARED_SECRET": SECRET,
        "CP_ADMIN_API_TOKEN": ADMIN_KEY,
        "ADMIN_TOKEN": TENANT_TOKEN,
        "PLATFORM_URL": platform_url,
        **others,
    }
