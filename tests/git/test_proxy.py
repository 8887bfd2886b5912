"""A proxy is for hosts on the network: what stays on this machine, token and all, is not sent to it."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import pytest
from aiohttp import web

from support.git_repository import Repository
from workspace_server.concurrency import Deadline, TaskScope
from workspace_server.git import CheckoutStore, GitAccess, Resolver, open_http_client
from workspace_server.model.repository import RepositoryUrl
from workspace_server.runtimes import Template

VARIABLES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
ELSEWHERE = RepositoryUrl.parse("https://git.example.org/team/template")


@dataclass(slots=True)
class Proxy:
    """Knows who wanted to go where, and lets nobody through."""

    url: str = ""
    asked: list[str] = field(default_factory=list)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request.raw_path)
        return web.Response(status=502)


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    running = Proxy()
    runner = web.ServerRunner(web.Server(running.handle), shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        running.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield running
    finally:
        await runner.cleanup()


@pytest.fixture
def proxied(access: GitAccess, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> GitAccess:
    """The access of an operator with a token and a proxy."""
    proxies = dict.fromkeys([*VARIABLES, "https_proxy", "HTTPS_PROXY"], proxy.url)
    for name, value in proxies.items():
        monkeypatch.setenv(name, value)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return replace(access, token="s3cret", passed_on={**access.passed_on, **proxies})


async def test_a_look_up_on_this_machine_goes_past_the_proxy(
    proxied: GitAccess, proxy: Proxy, scope: TaskScope, repository: Repository, template: Template
) -> None:
    async with open_http_client(proxied) as http:
        found = await Resolver(http=http, access=proxied, scope=scope).resolve(template, Deadline(10))
    assert (found, proxy.asked) == (repository.tip(), [])


async def test_a_fetch_from_this_machine_goes_past_the_proxy(
    proxied: GitAccess,
    proxy: Proxy,
    store_for: Callable[[GitAccess], CheckoutStore],
    repository: Repository,
    template: Template,
) -> None:
    await store_for(proxied).checkout(template, repository.tip(), Deadline(60))
    assert proxy.asked == []


async def test_a_look_up_on_the_network_goes_through_the_proxy(proxied: GitAccess, proxy: Proxy) -> None:
    async with open_http_client(proxied) as http:
        with pytest.raises(Exception, match="502"):
            await http.get(ELSEWHERE.text)
    assert proxy.asked == ["git.example.org:443"]


def test_a_fetch_from_the_network_is_told_the_proxy(proxied: GitAccess, proxy: Proxy) -> None:
    assert proxied.environment(ELSEWHERE)["https_proxy"] == proxy.url
