"""The proxy under the docker command: upgraded connections, and BuildKit's sessions."""

import hashlib
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from support.engine import Engine, leftovers
from support.engine_events import engine_events
from support.engine_proxy import EngineProxy
from support.templates import BASE_IMAGE

from .engine_objects import buildkit_program, docker, docker_output, lay_out

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A build context of some megabytes with one RUN."""
    dockerfile = f"FROM {BASE_IMAGE}\nCOPY . /copied\nRUN echo said by the step && cat /copied/word\n"
    return lay_out({"Dockerfile": dockerfile, "word": "a-word-from-the-context\n", "big": bytes(5_000_000)}, tmp_path)


async def test_a_buildkit_build_passes(engine_url: str, proxy: EngineProxy, context: Path, label: str) -> None:
    arguments = ("build", "--no-cache", "--progress=plain", f"--label={label}", str(context))
    output = await docker_output(proxy.address, *arguments, program=buildkit_program(), buildkit=True)
    assert "a-word-from-the-context" in output
    assert proxy.count("POST", "/session") + proxy.count("POST", "/grpc") >= 1
    assert len((await leftovers(engine_url, label)).images) == 1


async def test_a_classic_build_passes(engine_url: str, proxy: EngineProxy, context: Path, label: str) -> None:
    output = await docker_output(
        proxy.address, "build", "--no-cache", "--force-rm", f"--label={label}", str(context), program=buildkit_program()
    )
    assert "a-word-from-the-context" in output
    assert proxy.count("POST", "/build") == 1
    assert len((await leftovers(engine_url, label)).images) == 1


async def test_a_client_that_is_killed_ends_its_classic_build(
    engine_url: str, proxy: EngineProxy, tmp_path: Path, label: str
) -> None:
    lay_out({"Dockerfile": f"FROM {BASE_IMAGE}\nLABEL {label}\nRUN sleep 3600\n"}, tmp_path)
    key, _, value = label.partition("=")
    async with engine_events(engine_url) as events:
        arguments = ("build", "--no-cache", "--force-rm", str(tmp_path))
        async with docker(proxy.address, *arguments, program=buildkit_program()):
            step = await events.wait_for("container", "start", **{key: value})
        died = await events.wait_for("container", "die", **{key: value})
        assert died.id == step.id
        await events.wait_for("container", "destroy", **{key: value})


async def test_standard_input_and_output_of_a_run_pass(proxy: EngineProxy, label: str) -> None:
    arguments = ("run", "--rm", "--interactive", f"--label={label}", BASE_IMAGE, "sha256sum")
    output = await docker_output(proxy.address, *arguments, stdin=bytes(3_000_000))
    assert output.split()[0] == hashlib.sha256(bytes(3_000_000)).hexdigest()
    assert proxy.count("POST", r"/containers/[^/]+/attach") == 1


async def test_a_command_inside_a_container_can_be_talked_to(api: Engine, proxy: EngineProxy, label: str) -> None:
    container = (
        await docker_output(
            proxy.address, "run", "--detach", "--init", f"--label={label}", BASE_IMAGE, "sleep", "infinity"
        )
    ).strip()
    async with docker(proxy.address, "exec", "--interactive", container, "cat", stdin=PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for word in (b"one\n", b"two\n"):
            process.stdin.write(word)
            assert await process.stdout.readline() == word
        process.stdin.close()
        assert await process.wait() == 0
    assert proxy.count("POST", r"/exec/[^/]+/start") == 1
    assert (await api.get(f"/containers/{container}/json"))["State"]["Running"]


async def test_an_upgraded_connection_can_be_cut_off(proxy: EngineProxy, label: str) -> None:
    # The engine sends every piece of output after a header of eight bytes.
    proxy.faults.cut_off("POST", r"/containers/[^/]+/attach", 8 + len("first\n"))
    arguments = ("run", "--init", "--interactive", f"--label={label}", BASE_IMAGE, "sh", "-c", "echo first; exec cat")
    async with docker(proxy.address, *arguments, stdin=PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert await process.stdout.readline() == b"first\n"
        process.stdin.write(b"second\n")
        assert b"second" not in await process.stdout.readline()


async def test_a_failing_call_is_told_by_the_docker_command(proxy: EngineProxy, label: str) -> None:
    proxy.faults.answer("POST", "/containers/create", message="broken on purpose")
    output = await docker_output(proxy.address, "create", f"--label={label}", BASE_IMAGE, "true", code=1)
    assert "broken on purpose" in output
