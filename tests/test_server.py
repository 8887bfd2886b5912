"""Listening: where, for whom, and the sentences with which the server refuses to start."""

import asyncio
import os
import re
import signal
import socket
import struct
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from images.making import identity, template
from support.ports import free_port
from support.processes import running
from support.server import NO_ENGINE, ServerProcess, server_process
from workspace_server import server as module
from workspace_server.errors import SettingsError
from workspace_server.model.build import BuildStep
from workspace_server.server import check_exposure, listening
from workspace_server.settings import Settings, load_settings
from workspace_server.wiring import Services, open_services

ADMIN_TOKEN = "an-administrator's-long-random-string"
_LISTEN = "0A"


def listeners(port: int) -> set[str]:
    """The addresses on which this process accepts connections to a port."""
    inodes = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # it was that of the listing itself
            inodes |= set(re.findall(r"^socket:\[(\d+)\]$", os.readlink(descriptor)))  # noqa: PTH115 - no path
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            address, _, number = local.partition(":")
            if (state, int(number, 16)) == (_LISTEN, port) and inode in inodes:
                words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
                found.add(socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words)))
    return found


@asynccontextmanager
async def without_engine(directory: Path, **settings: str) -> AsyncIterator[ServerProcess]:
    async with server_process(directory, NO_ENGINE, **settings) as server:
        yield server


async def refusal(directory: Path, **settings: str) -> tuple[int | str | None, ...]:
    """Run a server that does not start, and return its exit code and the lines it wrote, without its log."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory / "home"), "DOCKER_HOST": NO_ENGINE, **settings}
    program = (sys.executable, "-m", "workspace_server", "serve")
    async with running(*program, env=environment, stdout=PIPE, stderr=PIPE) as process:
        out, err = await asyncio.wait_for(process.communicate(), 20)
        assert out == b""
        return process.returncode, *(line for line in err.decode().splitlines() if not line.startswith("{"))


def settings(directory: Path, **environment: str) -> Settings:
    return load_settings({"HOME": str(directory), "DOCKER_HOST": NO_ENGINE, "PORT": str(free_port()), **environment})


async def test_it_listens_on_loopback_only(tmp_path: Path) -> None:
    configured = settings(tmp_path)
    async with listening(configured):
        assert listeners(configured.port) == {"127.0.0.1", "::1"}


async def test_with_an_administrator_it_listens_everywhere(tmp_path: Path) -> None:
    configured = settings(tmp_path, ADMIN_TOKEN=ADMIN_TOKEN)
    async with listening(configured):
        assert listeners(configured.port) == {"0.0.0.0"}


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.0.0.2", "::1"])
async def test_it_listens_where_the_operator_says(tmp_path: Path, bind: str) -> None:
    configured = settings(tmp_path, MOLECULE_BIND=bind)
    async with listening(configured):
        assert listeners(configured.port) == {bind}


async def test_it_listens_no_more_when_it_has_ended(tmp_path: Path) -> None:
    configured = settings(tmp_path)
    async with listening(configured):
        pass
    assert listeners(configured.port) == set()


async def test_it_says_where_it_listens(tmp_path: Path) -> None:
    configured = settings(tmp_path)
    with capture_logs() as logs:
        async with listening(configured):
            pass
    assert [line for line in logs if line["event"] == "listening"] == [
        {
            "event": "listening",
            "log_level": "info",
            "addresses": [f"127.0.0.1:{configured.port}", f"[::1]:{configured.port}"],
            "image_source": "local-build",
            "data": str(configured.data_dir),
            "docs": f"http://127.0.0.1:{configured.port}/docs",
        }
    ]


async def test_it_is_alive_while_the_engine_is_away(tmp_path: Path) -> None:
    configured = settings(tmp_path)
    with capture_logs() as logs:
        async with listening(configured), httpx.AsyncClient(base_url=f"http://127.0.0.1:{configured.port}") as client:
            assert (await client.get("/health")).text == '{"status":"ok"}'
            assert (await client.get("/ready")).status_code == 503
    (said,) = [line for line in logs if line["event"] == "the engine is away; wishes wait"]
    assert said["error"] == f"the container engine at {NO_ENGINE} does not answer"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_well_when_it_is_asked_to(tmp_path: Path, number: signal.Signals) -> None:
    async with without_engine(tmp_path) as server:
        await server.client.get("/health")  # a connection that is kept open
        await server.stop(number)
        events = [line["event"] for line in server.log_lines()]
        assert [event for event in events if "engine" not in event and "observed" not in event][-1] == "stopping"


ENDED_WHILE_IT_OPENS = """
import asyncio, contextlib, os, signal, sys
from workspace_server import server

@contextlib.asynccontextmanager
async def listening(_settings):
    os.kill(os.getpid(), signal.SIGTERM)
    try:
        if sys.argv[1] == "opening":
            await asyncio.get_running_loop().create_future()
        yield
    finally:
        print("cleaned up")

server.listening = listening
asyncio.run(server.serve(None))
"""


@pytest.mark.parametrize("moment", ["opening", "open"])
async def test_it_cleans_up_when_it_is_asked_to_end_before_it_serves(moment: str) -> None:
    environment = {"PATH": os.environ["PATH"]}
    program = (sys.executable, "-c", ENDED_WHILE_IT_OPENS, moment)
    async with running(*program, env=environment, stdout=PIPE, stderr=PIPE) as process:
        out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, b"cleaned up" in out) == (0, True), err.decode()


async def test_it_does_not_wait_for_whoever_follows_something(tmp_path: Path) -> None:
    configured, loop = settings(tmp_path), asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{configured.port}"))
        async with listening(configured) as services:
            build = services.on_engine.builds.open(identity(template()), "no image").id
            services.on_engine.builds.note_step(build, BuildStep(n=1, of=2, name="RUN sleep"))
            log = client.stream("GET", f"/images/builds/{build}/log?follow=1")
            lines = (await stack.enter_async_context(log)).aiter_lines()
            first, began = await anext(lines), loop.time()
        assert loop.time() - began < module._DRAIN_SECONDS / 2
        assert (first, "event: end" in [line async for line in lines]) == ("id: 0", False)


async def test_it_is_the_same_installation_after_a_restart(tmp_path: Path) -> None:
    async with without_engine(tmp_path) as server:
        instance = server.instance
        await server.restart()
        assert server.instance == instance


async def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert await refusal(tmp_path, PORT=str(port)) == (
            2,
            f"error: PORT={port}: cannot listen on 127.0.0.1: Address already in use",
            f"hint: stop what listens there, or choose another, for example PORT={port + 1}",
        )


async def test_a_port_that_is_taken_meanwhile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two servers may bind a port as long as neither listens: who is later must not wait for ever."""
    configured = settings(tmp_path)

    @asynccontextmanager
    async def slowly(given: Settings) -> AsyncIterator[Services]:
        with socket.create_server(("127.0.0.1", given.port)):
            async with open_services(given) as services:
                yield services

    monkeypatch.setattr(module, "open_services", slowly)
    with pytest.raises(SettingsError) as refused:
        async with asyncio.timeout(20), listening(configured):
            pytest.fail("it listens")
    assert (refused.value.code, refused.value.message) == (
        "port_in_use",
        f"PORT={configured.port}: cannot listen on 127.0.0.1: Address already in use",
    )


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
async def test_beyond_this_machine_it_needs_an_administrator(tmp_path: Path, bind: str) -> None:
    with pytest.raises(SettingsError) as refused:
        check_exposure(settings(tmp_path, MOLECULE_BIND=bind))
    assert refused.value.message == f"MOLECULE_BIND='{bind}' reaches beyond this machine, and ADMIN_TOKEN is not set"
    assert refused.value.hint == "set ADMIN_TOKEN to a long random string, or MOLECULE_BIND=127.0.0.1"
    check_exposure(settings(tmp_path, MOLECULE_BIND=bind, ADMIN_TOKEN=ADMIN_TOKEN))


async def test_beyond_this_machine_it_does_not_start(tmp_path: Path) -> None:
    assert await refusal(tmp_path, PORT=str(free_port()), MOLECULE_BIND="0.0.0.0") == (
        2,
        "error: MOLECULE_BIND='0.0.0.0' reaches beyond this machine, and ADMIN_TOKEN is not set",
        "hint: set ADMIN_TOKEN to a long random string, or MOLECULE_BIND=127.0.0.1",
    )


async def test_in_a_container_it_needs_an_administrator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "runs_in_container", lambda: True)
    with pytest.raises(SettingsError) as refused:
        check_exposure(settings(tmp_path))
    assert refused.value.message == (
        "this server runs in a container, where loopback does not mean its owner; ADMIN_TOKEN is not set"
    )
    assert refused.value.hint == "set ADMIN_TOKEN to a long random string"
    check_exposure(settings(tmp_path, ADMIN_TOKEN=ADMIN_TOKEN))


async def test_a_second_server_on_the_same_data_is_refused(tmp_path: Path) -> None:
    async with without_engine(tmp_path) as server:
        assert await refusal(tmp_path, PORT=str(free_port())) == (
            2,
            f"error: another server uses the data directory {server.data}",
            "hint: stop it, or set MOLECULE_DATA_DIR to another directory",
        )
        assert (await server.client.get("/health")).status_code == 200


async def test_the_data_is_free_again_after_a_kill(tmp_path: Path) -> None:
    async with without_engine(tmp_path) as server:
        instance = server.instance
        await server.kill()
        await server.start()
        assert server.instance == instance
