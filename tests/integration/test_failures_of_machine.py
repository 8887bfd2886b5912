"""This machine lacks what a build needs: the words are whole, and the same in the API, the log and the terminal."""

import asyncio
import os
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from support.build_host import BuildHost, build_host
from support.git_repository import Repository
from support.server import Json, eventually
from support.templates import BASE_IMAGE, dockerfile_only, tiny_template

from .site import FailingSite, on_a_terminal, open_failing_site

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

RUNTIMES = ("unrecorded", "large", "talkative", "filling", "dockerless", "gitless", "away", "abandoned")
TOOLS = ("docker", "git", "setpriv")
START = "start it (Linux: sudo systemctl start docker; Docker Desktop: open it) or set DOCKER_HOST"
PRUNE = "make room with: workspace-server images prune; or move the cache with MOLECULE_LOCAL_BUILD_CACHE"


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A file system of a few megabytes; ``problem`` says why it is none."""

    path: Path
    problem: str

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"

    def leave(self, size: int) -> None:
        """Fill it, but for ``size`` bytes."""
        free = os.statvfs(self.path)
        with self._ballast.open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, free.f_bavail * free.f_frsize - size)

    def make_room(self) -> None:
        self._ballast.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    place = tmp_path_factory.mktemp("disk")
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], capture_output=True, check=False)
    problem = mount.stderr.decode().strip()
    try:
        yield SmallDisk(place, problem)
    finally:
        if not problem:
            subprocess.run(["umount", place], check=True)


@pytest.fixture
def disk(mounted: SmallDisk) -> Iterator[SmallDisk]:
    if mounted.problem:
        pytest.skip(f"a small disk takes the right to mount one: {mounted.problem}")
    yield mounted
    mounted.make_room()


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that the server finds on its PATH."""
    place = tmp_path_factory.mktemp("tools")
    for name in TOOLS:
        if found := shutil.which(name):
            (place / name).symlink_to(found)
    return place


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def host(engine_url: str) -> AsyncIterator[BuildHost]:
    async with build_host(engine_url) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site(
    engine_url: str,
    workspace_network: None,
    mounted: SmallDisk,
    tools: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[FailingSite]:
    settings = {
        "PATH": str(tools),
        "MOLECULE_EXTRA_RUNTIMES": ",".join(RUNTIMES),
        "MOLECULE_LOCAL_BUILD_CACHE": str(mounted.path / "cache"),
    }
    async with open_failing_site(tmp_path_factory.mktemp("site"), engine_url, **settings) as opened:
        yield opened


@pytest.fixture
def without(tools: Path) -> Iterator[list[str]]:
    """Programs that are not installed during a test: their names, to be added to."""
    names: list[str] = []
    yield names
    for name in names:
        (tools / f"not-{name}").rename(tools / name)


def the_image(runtime: str, repository: Repository) -> str:
    return f"local-build mode: the image of {runtime} ({repository.url} at {repository.tip()[:12]})"


async def build_of(site: FailingSite, runtime: str) -> Json:
    return (await site.server.call("GET", f"/images/builds?runtime={runtime}"))[0]


def full(place: Path) -> dict[str, str]:
    return {"error": f"no space left on the disk of the build cache {place}", "code": "no_space", "hint": PRUNE}


# Disks


async def test_there_is_no_room_for_a_builds_record(site: FailingSite, disk: SmallDisk) -> None:
    await site.template("unrecorded", tiny_template())
    disk.leave(0)
    assert await site.fails("unrecorded") == full(site.server.cache / "builds")


async def test_there_is_no_room_for_the_templates_files(site: FailingSite, disk: SmallDisk) -> None:
    await site.template("large", {**tiny_template(), "large": secrets.token_bytes(4_000_000)})
    disk.leave(1_000_000)
    error = await site.fails("large")
    (store,) = site.server.cache.glob("large/git-*")
    assert error == full(store)


async def test_there_is_no_room_for_a_builds_log(site: FailingSite, disk: SmallDisk, host: BuildHost) -> None:
    gate = host.hold(f"/{site.mark}/talkative")
    await site.template("talkative", asking(gate_url(host, site, "talkative"), then="seq 1 100000"))
    workspace = await site.server.create("talkative")
    await asyncio.wait_for(gate.arrived.wait(), 60)
    disk.leave(8192)
    gate.release()
    error = await site.failed(workspace)
    build = (await site.server.view(workspace))["build"]
    assert error == full(site.server.cache / "builds" / build["id"] / "log")
    assert (build["state"], build["error"]) == ("failed", error)  # though there was no room to write this down
    site.nothing_was_pulled()


async def test_there_is_no_room_where_the_engine_builds(site: FailingSite) -> None:
    run = "RUN dd if=/dev/zero of=/dev/shm/big bs=1M"
    repository = await site.template("filling", dockerfile_only(f"FROM {BASE_IMAGE}\n{run}\n"))
    error = await site.fails("filling")
    build = await build_of(site, "filling")
    assert error == {
        "error": f"{the_image('filling', repository)} cannot be built: no space left where the container engine builds:"
        f" step 2 of {build['step']['of']}, {run}: dd: error writing '/dev/shm/big': No space left on device",
        "code": "no_space",
        "hint": "make room there: docker system df shows what takes it, workspace-server images prune and docker"
        f" builder prune free it; log: GET {build['log']}",
    }


# Programs


def remove(tools: Path, name: str, without: list[str]) -> None:
    (tools / name).rename(tools / f"not-{name}")
    without.append(name)


async def test_docker_is_not_installed(site: FailingSite, tools: Path, without: list[str]) -> None:
    await site.template("dockerless", tiny_template())
    remove(tools, "docker", without)
    expected = {
        "error": "docker's command line is not installed, and it builds the images",
        "code": "tool_missing",
        "hint": "install it: apt-get install docker.io (Debian, Ubuntu), dnf install docker-cli (Fedora), apk add"
        " docker-cli (Alpine), brew install docker (macOS)",
    }
    assert await site.fails("dockerless") == expected
    assert await site.terminal("images", "build", "dockerless") == on_a_terminal(expected)


async def test_git_is_not_installed(site: FailingSite, tools: Path, without: list[str]) -> None:
    await site.template("gitless", tiny_template())
    remove(tools, "git", without)
    assert await site.fails("gitless") == {
        "error": "git is not installed, and it moves the template's files from its repository",
        "code": "tool_missing",
        "hint": "install it: apt-get install git (Debian, Ubuntu), dnf install git (Fedora), apk add git (Alpine), brew"
        " install git (macOS)",
    }


# The engine


@pytest_asyncio.fixture(loop_scope="module")
async def engine_comes_back(site: FailingSite) -> AsyncIterator[None]:
    yield
    await site.proxy.up()


def waiting_lines(site: FailingSite, workspace: str) -> list[dict[str, str]]:
    lines = [line for line in site.server.log_lines("provisioning waits") if line["workspace"] == workspace]
    return [{key: line[key] for key in ("error", "code", "hint")} for line in lines]


@pytest.mark.usefixtures("engine_comes_back")
async def test_the_engine_is_away(site: FailingSite) -> None:
    """A wish that needs it waits, and says so in the same words."""
    await site.template("away", tiny_template())
    await site.proxy.down()
    workspace = await site.server.create("away")

    async def told() -> Json:
        return (await site.server.view(workspace))["error"]

    error = await eventually(told, "the engine's absence is told")
    expected = {
        "error": f"the container engine at {site.proxy.address} does not answer",
        "code": "engine_unavailable",
        "hint": START,
    }
    listed = await site.server.listed(workspace)
    assert error == expected
    assert (listed["status"], listed["last_sample_error"]) == ("provisioning", f"{error['error']}\nhint: {START}")
    assert waiting_lines(site, workspace)[0] == expected
    assert await site.terminal("images", "build", "away") == on_a_terminal(expected)
    await site.server.call("DELETE", f"/workspaces/{workspace}?purge=true")
    site.nothing_was_pulled()


@pytest.mark.usefixtures("engine_comes_back")
async def test_the_engine_goes_away_during_a_build(site: FailingSite, host: BuildHost) -> None:
    gate = host.hold(f"/{site.mark}/abandoned")
    repository = await site.template("abandoned", asking(gate_url(host, site, "abandoned")))
    workspace = await site.server.create("abandoned")
    await asyncio.wait_for(gate.arrived.wait(), 60)
    await site.proxy.down()
    error = (await eventually(lambda: waiting_lines(site, workspace), "the workspace waits"))[0]
    gate.release()
    build = await build_of(site, "abandoned")
    begin = (
        f"{the_image('abandoned', repository)} was not built: the container engine at {site.proxy.address} did not"
        " finish it: "
    )
    said = error["error"].removeprefix(begin)
    assert error == {
        "error": begin + said,
        "code": "engine_unavailable",
        "hint": f"{START}; log: GET {build['log']}",
    }
    assert said != ""
    assert said in (await site.server.client.get(build["log"])).text
    assert build["error"] == error
    await site.server.call("DELETE", f"/workspaces/{workspace}?purge=true")
    site.nothing_was_pulled()


def gate_url(host: BuildHost, site: FailingSite, name: str) -> str:
    return f"{host.url}/{site.mark}/{name}"


def asking(url: str, *, then: str = "true") -> dict[str, str]:
    ask = f"import urllib.request as u; u.urlopen('{url}')"
    return dockerfile_only(f'FROM {BASE_IMAGE}\nRUN python3 -c "{ask}" && {then}\n')
