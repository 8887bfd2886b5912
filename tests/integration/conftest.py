"""A Git host with templates, and a server that builds from them on a real engine."""

import pytest

from support.engine import Engine
from support.engine_proxy import EngineProxy
from support.git_server import GitServer

from .site import Serve, Site


@pytest.fixture
async def site(serve: Serve, git_host: GitServer, api: Engine) -> Site:
    """A server whose templates lie on the Git host; there is none yet."""
    server = await serve(MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX=git_host.repo_prefix)
    return Site(server=server, git=git_host, engine=api)


@pytest.fixture
async def proxied_site(serve: Serve, git_host: GitServer, api: Engine, proxy: EngineProxy) -> Site:
    """The same with a proxy between the server and the engine."""
    server = await serve(MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX=git_host.repo_prefix, behind=proxy.address)
    return Site(server=server, git=git_host, engine=api)
