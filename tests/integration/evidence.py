"""Everything that a server leaves: on disk, on the engine, in answers and in processes; collected and searched."""

import io
import json
import sys
import tarfile
from asyncio.subprocess import PIPE
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from support.database_contents import files_of, rows_of
from support.engine import Engine
from support.git_cli import git
from support.git_requests import RecordedRequest
from support.process_watch import Seen
from support.processes import running
from support.secret_search import SecretSearch
from support.server import ServerProcess

KINDS = (
    "log",
    "API answer",
    "command output",
    "home directory",
    "checkout",
    "build log",
    "git configuration",
    "git object",
    "database file",
    "database row",
    "event row",
    "container",
    "image layer",
    "image configuration",
    "process arguments",
    "process environment",
    "other host",
    "build step",
)
"""Every kind of place."""


@dataclass(slots=True)
class Evidence:
    """What is known of one server. ``answers`` grows with every request that its client sends; images are searched
    once. Where nothing is built here there are no checkouts, and nothing of Git.
    """

    server: ServerProcess
    engine: Engine
    search: SecretSearch
    builds_here: bool = True
    answers: list[tuple[str, bytes]] = field(default_factory=list)
    _saved: set[str] = field(default_factory=set)

    def listen(self) -> None:
        """Keep every answer to the server's client from now on."""
        self.server.client.event_hooks["response"].append(self._keep)

    async def _keep(self, response: httpx.Response) -> None:
        head = "".join(f"{name}: {value}\n" for name, value in response.headers.items())
        request = f"{response.request.method} {response.request.url.raw_path.decode()}"
        self.answers.append((request, head.encode() + await response.aread()))

    async def ask_everything(self) -> None:
        """Send every GET that the server describes, with every workspace, build and runtime that there is."""
        get = self.server.client.get
        described = (await get("/openapi.json")).json()["paths"]
        known = {
            "workspace_id": [each["id"] for each in (await get("/workspaces")).json()],
            "build": [each["id"] for each in (await get("/images/builds")).json()],
            "runtime": [each["name"] for each in (await get("/runtimes")).json()],
            "follow": ["", "1"],
            "limit": ["200"],
            "tail": ["", "5"],
        }
        for path, methods in described.items():
            if "get" in methods:
                # What a container writes comes to no end while it runs.
                ending = {**known, "follow": [""]} if path.endswith("/logs") else known
                for url, query in _filled(path, methods["get"].get("parameters", []), ending):
                    assert (await get(url, params=query)).status_code != 500
        for page in ("/docs", "/redoc"):
            assert (await get(page)).status_code == 200

    async def collect(self) -> None:
        """Search all places but processes and other hosts, while the server runs."""
        search, home = self.search, self.server.home
        search.look("log", self.server.log, self.server.log.read_bytes())
        for request, answer in self.answers:
            search.look("API answer", request, answer)
        search.look_below("home directory", home)  # with the cache, the data directory and all that is temporary
        for path in _below(self.server.cache, "builds/*/log"):
            search.look("build log", path, path.read_bytes())
        if self.builds_here:
            await self._checkouts()
        await self._database()
        await self._engine_objects()

    async def _checkouts(self) -> None:
        for path in _below(self.server.cache, "*/*/tree"):
            self.search.look_below("checkout", path)
        for path in (*_below(self.server.cache, "*/git-*/config"), *self.server.home.glob(".gitconfig")):
            self.search.look("git configuration", path, path.read_bytes())
        await self._git_objects()

    async def _git_objects(self) -> None:
        """The objects as they are inside their packs, where they are compressed."""
        for store in _below(self.server.cache, "*/git-*"):
            listed = await git("cat-file", "--batch-all-objects", "--batch", env={"GIT_DIR": str(store)})
            self.search.look("git object", store, listed)

    async def _database(self) -> None:
        where = (self.server.data, self.server.environment)
        for path in await files_of(*where):
            self.search.look("database file", path, path.read_bytes())
        for table, row in await rows_of(*where):
            self.search.look("event row" if table == "structure_events" else "database row", table, row)

    async def _engine_objects(self) -> None:
        label = self.server.label
        for container in await self.engine.listed("/containers/json", label=label, all="true"):
            name = container["Names"][0]
            inspected = await self.engine.get(f"/containers/{container['Id']}/json")
            self.search.look("container", name, json.dumps(inspected, ensure_ascii=False))
        for kind in ("/volumes", "/networks"):
            found = await self.engine.listed(kind, label=label)
            self.search.look("container", kind, json.dumps(found, ensure_ascii=False))
        built = {build["image_id"] for build in await self.server.builds() if build["image_id"]}
        await self._images(sorted(built - self._saved))
        self._saved |= built

    async def _images(self, images: Sequence[str]) -> None:
        """Their labels and history as the engine tells them, and the archive that a `docker save` makes of them."""
        for image in images:
            for view in ("json", "history"):
                told = await self.engine.get(f"/images/{image}/{view}")
                self.search.look("image configuration", f"{image} {view}", json.dumps(told, ensure_ascii=False))
        query = "&".join(f"names={image}" for image in images)
        async with self.engine.stream(f"/images/get?{query}") as body:
            archive = io.BytesIO(await body.read())
        with tarfile.open(fileobj=archive) as members:
            for member in members:
                if (content := members.extractfile(member)) is not None:
                    is_layer = member.name.endswith("layer.tar") or member.name.startswith("blobs/")
                    self.search.look("image layer" if is_layer else "image configuration", member.name, content.read())

    async def run_commands(self) -> None:
        """Search what commands print that are run with the server's own environment."""
        for words in (["settings"], ["runtimes"], ["images", "list"], ["images", "builds"]):
            await self._run(words)

    async def print_newest_log(self) -> None:
        """Search what the command prints that shows the newest build's log."""
        await self._run(["images", "log", (await self.server.builds())[0]["id"]])

    async def _run(self, words: list[str]) -> None:
        command = (sys.executable, "-m", "workspace_server", *words)
        async with running(*command, env=self.server.environment, stdout=PIPE, stderr=PIPE) as process:
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        self.search.look("command output", words, out + err)

    def look_at_processes(self, processes: Sequence[Seen], *, may_know: AbstractSet[int] = frozenset()) -> None:
        """Search arguments and environments; those of the groups that ``may_know`` only for their arguments."""
        for process in processes:
            place = f"{process.pid} {' '.join(process.argv)}"
            self.search.look("process arguments", place, "\n".join(process.argv))
            if process.group not in may_know:
                self.search.look("process environment", place, process.environment)

    def look_at_requests(self, requests: Sequence[RecordedRequest]) -> None:
        """Search what a host was sent that is not to see the token."""
        for request in requests:
            head = "".join(f"{name}: {value}\n" for name, value in request.headers.items())
            text = f"{request.method} {request.path}?{request.query}\n{head}"
            self.search.look("other host", request.path, text.encode() + request.body)


def _below(cache: Path, pattern: str) -> list[Path]:
    found = sorted(cache.glob(pattern))
    assert found, f"nothing in the cache is like {pattern}"
    return found


def _filled(
    path: str, parameters: Sequence[Mapping[str, Any]], known: Mapping[str, Sequence[str]]
) -> list[tuple[str, dict[str, str]]]:
    """A path with all values of its parameters; one that nothing is known of is an error."""
    filled: list[tuple[str, dict[str, str]]] = [(path, {})]
    for parameter in parameters:
        name = parameter["name"]
        match parameter["in"]:
            case "path":
                filled = [(url.replace(f"{{{name}}}", value), query) for url, query in filled for value in known[name]]
            case "query":
                filled = [(url, {**query, name: value}) for url, query in filled for value in known[name]]
            case _:
                continue
    return filled
