import csv
import io
import zipfile
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path

import pytest

from support import templates
from support.build_host import build_host
from support.engine import Engine
from support.git_cli import git
from support.git_objects import FileMap
from support.git_server import GitServer
from support.templates import BROKEN_EXIT_CODE, BROKEN_OUTPUT

from .engine_objects import archive, buildkit_program, docker, docker_output
from .git_client import clone, git_error

BUILD = ("build", "--progress=plain")
WELL_FORMED: list[Callable[[], FileMap]] = [
    templates.real_template,
    templates.agent_template,
    templates.tiny_template,
    templates.broken_template,
    templates.no_dockerfile,
    templates.symlink_dockerfile,
    templates.folder_dockerfile,
    templates.missing_base_template,
    templates.hostile_links,
    templates.odd_names,
    templates.with_lfs_pointer,
    lambda: templates.noisy_template(10),
    lambda: templates.silent_template(10),
    lambda: templates.calling_template("http://192.0.2.1/x"),
    lambda: templates.many_files(2500),
    lambda: templates.big_file(30_000_000),
    lambda: templates.with_submodule("https://example.invalid/x", "1" * 40),
]


@pytest.mark.parametrize("make", WELL_FORMED)
async def test_a_template_is_a_sound_repository(host: GitServer, make: Callable[[], FileMap]) -> None:
    files = make()
    repository = await host.create_template("langgraph", files)
    await repository.fsck()
    listed = await git(f"--git-dir={repository.directory}", "ls-tree", "-r", "-z", "--name-only", "HEAD")
    assert sorted(listed.split("\0")[:-1]) == sorted(files)


async def test_a_tree_with_its_own_git_folder_is_served_and_no_client_checks_it_out(
    host: GitServer, tmp_path: Path
) -> None:
    repository = await host.create("owner/hostile", templates.git_folder_inside())
    assert "hasDotgit" in await git_error(f"--git-dir={repository.directory}", "fsck", "--strict")
    assert "invalid path '.git" in await git_error("clone", "--quiet", repository.url, str(tmp_path / "work"))


async def test_the_real_template_has_the_shape_of_the_real_ones(host: GitServer, tmp_path: Path) -> None:
    repository = await host.create_template("claude-code", templates.real_template("claude-code"))
    work = await clone(repository.url, tmp_path / "work")
    config = (work / "config.yaml").read_text()
    assert "\nruntime: claude-code\n" in config
    assert [line.split(":")[0] for line in config.splitlines() if not line.startswith(" ")][:6] == [
        *("name", "description", "version", "tier", "runtime", "runtime_config"),
    ]
    assert (work / "entrypoint.sh").stat().st_mode & 0o777 == 0o755


def test_equal_templates_are_equal_bytes_and_content_tells_them_apart() -> None:
    assert templates.real_template() == templates.real_template()
    assert templates.tiny_template(content="a") != templates.tiny_template(content="b")


def test_a_wheel_is_complete() -> None:
    with zipfile.ZipFile(io.BytesIO(templates.wheel("some-words", "1.0", "X = 1\n"))) as archive:
        assert archive.testzip() is None
        record = csv.reader(archive.read("some_words-1.0.dist-info/RECORD").decode().splitlines())
        assert sorted(row[0] for row in record) == sorted(archive.namelist())


@pytest.mark.engine
@pytest.mark.parametrize("step", [2, 3])
async def test_a_broken_template_fails_at_its_step_with_its_words(engine_url: str, step: int) -> None:
    output = await build(engine_url, templates.broken_template(step), code=1)
    assert BROKEN_OUTPUT in output
    assert f"[{step}/3] RUN echo {BROKEN_OUTPUT}" in output
    assert f"exit code: {BROKEN_EXIT_CODE}" in output


@pytest.mark.engine
async def test_a_noisy_template_writes_every_line(engine_url: str) -> None:
    output = await build(engine_url, templates.noisy_template(200), code=1)
    assert [n for n in range(1, 201) if f"line {n}\n" not in output] == []


@pytest.mark.engine
async def test_a_missing_base_image_is_refused_without_the_network(engine_url: str) -> None:
    assert "127.0.0.1:1" in await build(engine_url, templates.missing_base_template(), code=1)


@pytest.mark.engine
async def test_a_calling_template_is_counted_and_can_be_held(engine_url: str, label: str) -> None:
    async with build_host(engine_url) as called:
        hold = called.hold("/langgraph")
        files = templates.calling_template(f"{called.url}/langgraph")
        async with docker(
            engine_url, *BUILD, f"--label={label}", "-", program=buildkit_program(), buildkit=True, stdin=PIPE
        ) as process:
            assert process.stdin is not None
            process.stdin.write(archive(files))
            process.stdin.close()
            await hold.arrived.wait()
            assert process.returncode is None
            hold.release()
            assert await process.wait() == 0
        assert called.calls.count("/langgraph") == 1


@pytest.mark.engine
async def test_the_tiny_template_runs_and_stops_when_asked(api: Engine, engine_url: str, label: str) -> None:
    await build(engine_url, templates.tiny_template(), label=label)
    container = await start(api, label)
    await api.call("POST", f"/containers/{container}/stop", t="30")
    state = (await api.get(f"/containers/{container}/json"))["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 0)


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.timeout(600)  # a slow Debian mirror
async def test_the_real_template_builds_and_its_agent_serves_its_card_as_uid_1000(
    api: Engine, engine_url: str, label: str
) -> None:
    await build(engine_url, templates.real_template(), label=label)
    container = await start(api, label, {"configs/config.yaml": templates.config("langgraph")})
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/.well-known/agent-card.json').read())"
    script = f"""
        until python3 -c "{ask}" 2>/dev/null; do
            kill -0 1 || exit 1
        done
        stat -c 'configs %u' /configs
        stat -c 'agent %u' /proc/1
        cd /app && python3 -c 'import fixture_words, adapter; print(fixture_words.WORDS)'
        env | grep ADAPTER_MODULE
    """
    output = await docker_output(engine_url, "exec", container, "sh", "-c", script)
    assert '"name":"Tiny langgraph"' in output
    for line in ("configs 1000", "agent 1000", "from the wheel", "ADAPTER_MODULE=adapter"):
        assert line in output.splitlines()


async def build(engine_url: str, files: FileMap, *, label: str | None = None, code: int = 0) -> str:
    """Build from a tar archive with BuildKit and return what the builder wrote."""
    labels = () if label is None else (f"--label={label}",)
    return await docker_output(
        engine_url, *BUILD, *labels, "-", program=buildkit_program(), buildkit=True, stdin=archive(files), code=code
    )


async def start(api: Engine, label: str, files: FileMap | None = None) -> str:
    """Start a container of the one image with the label, with these files in it; return its id."""
    key, _, value = label.partition("=")
    (image,) = await api.listed("/images/json", label=label)
    platform = "PLATFORM_URL=http://127.0.0.1:9"
    body = {"Image": image["Id"], "Labels": {key: value}, "Env": ["WORKSPACE_ID=one", platform]}
    container = str((await api.call("POST", "/containers/create", body))["Id"])
    if files is not None:
        await api.call("PUT", f"/containers/{container}/archive", archive(files), path="/")
    await api.call("POST", f"/containers/{container}/start")
    return container
