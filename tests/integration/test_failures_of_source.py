"""A template's repository cannot be had: the words are whole, and the same in the API, the log and the terminal."""

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import pytest_asyncio
from aiohttp import web

from support.git_faults import Faults
from support.git_server import TEMPLATE_PREFIX, GitServer, git_server
from support.templates import Files, tiny_template

from .site import FailingSite, on_a_terminal, open_failing_site

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

BUILT_IN = ("autogen", "claude-code", "codex", "crewai", "deepagents", "gemini-cli", "hermes", "langgraph", "openclaw")
RUNTIMES = (
    *("unresolved", "refused", "plain", "distrusted", "unanswered", "broken", "missing", "hidden", "private", "page"),
    *("login", "denied", "empty", "unborn", "buildable", "dropped"),
)
STRANGERS = ("hidden", "private", "page", "login")
"""Runtimes whose repositories are where the token is not sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """Where templates are that are not on the site's own Git host."""

    elsewhere: GitServer
    """Another origin: the token is not for it."""
    refused: int
    """A port that nobody listens on."""
    unanswered: int
    """A port whose connections never come about."""
    distrusted: int
    """A port with TLS, and a certificate that nobody vouches for."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def hosts(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hosts]:
    directory = tmp_path_factory.mktemp("hosts")
    async with git_server(directory) as elsewhere, self_signed(directory) as distrusted:
        with deaf() as unanswered, socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            refused = bound.getsockname()[1]
            yield Hosts(elsewhere=elsewhere, refused=refused, unanswered=unanswered, distrusted=distrusted)


@contextmanager
def deaf() -> Iterator[int]:
    """A port whose queue of connections is full, so that the next one gets no answer."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for client in (first, second):
            client.settimeout(0)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@asynccontextmanager
async def self_signed(directory: Path) -> AsyncIterator[int]:
    """A port with TLS, and a certificate that nobody vouches for."""

    async def never(request: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError("a request went through a certificate that nobody vouches for")

    runner = web.ServerRunner(web.Server(never), shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=own_certificate(directory)).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def own_certificate(directory: Path) -> ssl.SSLContext:
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=nobody", "-days", "2"]
    subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site(
    engine_url: str, workspace_network: None, hosts: Hosts, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FailingSite]:
    """One server for all. The repository of one runtime alone ever answers: the buildable one's."""
    settings = {
        "MOLECULE_EXTRA_RUNTIMES": ",".join(RUNTIMES),
        "MOLECULE_GITEA_TOKEN": "wrong",
        "MOLECULE_TEMPLATE_REPO_UNRESOLVED": "https://nowhere.invalid/owner/template",
        "MOLECULE_TEMPLATE_REPO_REFUSED": f"http://127.0.0.1:{hosts.refused}/owner/template",
        "MOLECULE_TEMPLATE_REPO_UNANSWERED": f"http://127.0.0.1:{hosts.unanswered}/owner/template",
        "MOLECULE_TEMPLATE_REPO_DISTRUSTED": f"https://127.0.0.1:{hosts.distrusted}/owner/template",
        "MOLECULE_TEMPLATE_REPO_PLAIN": f"https://127.0.0.1:{hosts.elsewhere.port}/owner/template",
        **{f"MOLECULE_TEMPLATE_REPO_{name.upper()}": f"{hosts.elsewhere.url}owner/{name}" for name in STRANGERS},
        "MOLECULE_TEMPLATE_REF_UNBORN": "v9",
        "RES_OPTIONS": "timeout:1 attempts:1",  # where nobody resolves names, the C library would ask again and again
    }
    async with open_failing_site(tmp_path_factory.mktemp("site"), engine_url, **settings) as site:
        await site.git.create_template("buildable", tiny_template(content=site.mark))
        yield site


def unreachable(runtime: str, origin: str, url: str, cause: str) -> dict[str, str]:
    return {
        "error": f"local-build mode: Gitea unreachable at {origin} — verify network or set MOLECULE_IMAGE_REGISTRY to a"
        " reachable registry",
        "code": "git_unreachable",
        "hint": f"{cause} (runtime {runtime}, {url})",
    }


def missing(runtime: str, url: str, cause: str, *, hidden: bool = False) -> dict[str, str]:
    return {
        "error": f"does not exist{' or is private' if hidden else ''}: the template repository {url} of runtime"
        f" {runtime}; runtimes last seen to be buildable: buildable",
        "code": "template_repo_missing",
        "hint": f"{cause}; set MOLECULE_TEMPLATE_REPO_{runtime.upper()} to the URL of its repository, or"
        " MOLECULE_IMAGE_REGISTRY to a registry that has its image"
        + ("; if it is private, set MOLECULE_GITEA_TOKEN" if hidden else ""),
    }


def faults(site: FailingSite, runtime: str) -> Faults:
    """The faults of a repository on the site's own Git host, which need not exist."""
    return site.git.faults_at(f"{TEMPLATE_PREFIX}{runtime}")


async def look_at_the_buildable_one(site: FailingSite) -> None:
    await site.server.call("GET", "/images/explain?runtime=buildable")


# The host


@pytest.mark.parametrize(
    ("runtime", "origin", "cause"),
    [
        ("unresolved", "https://nowhere.invalid", "the connection failed: the host's name is not known"),
        ("refused", "http://127.0.0.1:{hosts.refused}", "the connection failed: connection refused"),
        ("plain", "https://127.0.0.1:{hosts.elsewhere.port}", "the connection failed: no common TLS"),
        ("distrusted", "https://127.0.0.1:{hosts.distrusted}", "the connection failed: its certificate is not trusted"),
    ],
    ids=["dns", "refused", "no-tls", "certificate"],
)
async def test_no_connection_to_the_host(
    site: FailingSite, hosts: Hosts, runtime: str, origin: str, cause: str
) -> None:
    origin = origin.format(hosts=hosts)
    assert await site.fails(runtime) == unreachable(runtime, origin, f"{origin}/owner/template", cause)


@pytest_asyncio.fixture(loop_scope="module", scope="module", autouse=True)
async def waiting(site: FailingSite) -> str:
    """A workspace whose template's host does not answer; it takes seconds to say so, in which other tests go on."""
    return await site.server.create("unanswered")


async def test_no_connection_to_the_host_in_time(site: FailingSite, hosts: Hosts, waiting: str) -> None:
    origin = f"http://127.0.0.1:{hosts.unanswered}"
    error = unreachable("unanswered", origin, f"{origin}/owner/template", "no connection came about in time")
    assert await site.failed(waiting) == error
    site.nothing_was_pulled()


@pytest.mark.parametrize("status", [500, 503])
async def test_the_host_itself_fails(site: FailingSite, status: int) -> None:
    faults(site, "broken").answer(status, "<h1>Internal Server Error</h1>", "text/html")
    origin, url = site.git.url.removesuffix("/"), f"{site.git.repo_prefix}broken"
    assert await site.fails("broken") == unreachable("broken", origin, url, f"the host answered HTTP {status}")


async def test_a_terminal_and_the_log_have_the_words_of_a_host_that_is_not_there(
    site: FailingSite, hosts: Hosts
) -> None:
    origin = f"http://127.0.0.1:{hosts.refused}"
    error = unreachable("refused", origin, f"{origin}/owner/template", "the connection failed: connection refused")
    assert await site.terminal("images", "build", "refused") == on_a_terminal(error)
    logged = site.server.log_lines("request cannot be served")[-1]
    assert {key: logged[key] for key in ("error", "code", "hint")} == error
    site.nothing_was_pulled()


# The repository


async def test_the_repository_is_missing(site: FailingSite) -> None:
    await look_at_the_buildable_one(site)
    url = f"{site.git.repo_prefix}missing"
    assert await site.fails("missing") == missing("missing", url, "the host answered HTTP 404")


@pytest.mark.parametrize("runtime", ["hidden", "private"])
async def test_the_repository_is_missing_or_private(site: FailingSite, hosts: Hosts, runtime: str) -> None:
    """To strangers a Git host says the same of both; the token is named last."""
    await look_at_the_buildable_one(site)
    path = f"owner/{runtime}"
    if runtime == "private":
        await hosts.elsewhere.create(path, tiny_template())
    hosts.elsewhere.faults_at(path).require_token("a-token")
    url, cause = hosts.elsewhere.url + path, "the host answered HTTP 401"
    assert await site.fails(runtime) == missing(runtime, url, cause, hidden=True)


async def test_a_log_in_page_comes_instead_of_refs(site: FailingSite, hosts: Hosts) -> None:
    await look_at_the_buildable_one(site)
    hosts.elsewhere.faults_at("owner/page").answer(200, "<!DOCTYPE html><title>Sign in</title>", "text/html")
    cause = "the host answered with something else than refs, maybe a log-in page"
    assert await site.fails("page") == missing("page", f"{hosts.elsewhere.url}owner/page", cause, hidden=True)


async def test_a_log_in_page_is_where_a_redirect_leads(site: FailingSite, hosts: Hosts) -> None:
    await look_at_the_buildable_one(site)
    hosts.elsewhere.faults_at("owner/login").answer(303, headers={"Location": "/user/login?redirect_to=%2Fowner"})
    cause = "the host redirected to a page that is no repository, maybe to log in"
    assert await site.fails("login") == missing("login", f"{hosts.elsewhere.url}owner/login", cause, hidden=True)


@pytest.mark.parametrize("status", ["401", "403"])
async def test_the_token_is_refused(site: FailingSite, status: Literal["401", "403"]) -> None:
    faults(site, "denied").require_token("the right one", wrong=status)
    assert await site.fails("denied") == {
        "error": f"MOLECULE_GITEA_TOKEN was refused by {site.git.url.removesuffix('/')} for the template repository"
        f" {site.git.repo_prefix}denied of runtime denied",
        "code": "git_denied",
        "hint": f"the host answered HTTP {status}; give MOLECULE_GITEA_TOKEN a token that may read this repository",
    }


@pytest.mark.parametrize(
    ("runtime", "files", "wanted"),
    [("empty", None, "a commit at HEAD"), ("unborn", tiny_template(), "the ref v9")],
    ids=["empty", "ref"],
)
async def test_the_ref_is_not_there(site: FailingSite, runtime: str, files: Files | None, wanted: str) -> None:
    repository = await site.git.create_template(runtime, files)
    assert await site.fails(runtime) == {
        "error": f"{wanted} was not found in the template repository {repository.url} of runtime {runtime}",
        "code": "template_ref_missing",
        "hint": "the repository is empty, or has no branch and no tag of exactly this name;"
        f" MOLECULE_TEMPLATE_REF_{runtime.upper()} names the branch, tag or full commit to use",
    }


# The runtime


def unknown(site: FailingSite, runtime: str) -> dict[str, str]:
    own = site.server.environment["MOLECULE_EXTRA_RUNTIMES"].split(",")
    return {
        "error": f"unknown runtime: {runtime}",
        "code": "unknown_runtime",
        "hint": f"known runtimes: {', '.join(sorted([*BUILT_IN, *own]))}",
    }


async def test_an_unknown_runtime_is_refused_and_asks_nobody(site: FailingSite) -> None:
    before = len(site.git.requests), len(site.proxy.calls)
    error = unknown(site, "nope")
    assert await site.server.call("POST", "/workspaces", {"name": "a", "runtime": "nope"}, status=400) == error
    assert await site.terminal("images", "build", "nope") == on_a_terminal(error)
    assert (len(site.git.requests), len(site.proxy.calls)) == before


async def test_a_runtime_that_was_dropped_fails_the_workspace_that_wants_it(site: FailingSite) -> None:
    hold = faults(site, "dropped").hold()
    workspace = await site.server.create("dropped")
    await asyncio.wait_for(hold.arrived.wait(), 30)
    site.server.environment["MOLECULE_EXTRA_RUNTIMES"] = ",".join(name for name in RUNTIMES if name != "dropped")
    await site.server.restart()
    assert await site.failed(workspace) == unknown(site, "dropped")
    site.nothing_was_pulled()
