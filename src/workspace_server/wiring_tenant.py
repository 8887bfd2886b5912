"""The parts of a hosted tenant: what it is given for its workspaces, whose sessions count, where /cp/ leads to."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from workspace_server.concurrency import TaskScope
from workspace_server.control_plane.configuration import TenantConfiguration
from workspace_server.control_plane.connection import open_control_plane_client
from workspace_server.control_plane.members import Members
from workspace_server.control_plane.upstream import Upstream
from workspace_server.settings import Settings
from workspace_server.workspaces.secrets import Given, nothing_given


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """What the settings ask of a control plane; ``members`` and ``upstream`` only where they name one for browsers."""

    variables: Given = nothing_given
    members: Members | None = None
    upstream: Upstream | None = None


@asynccontextmanager
async def open_tenant(settings: Settings, trust: Callable[[], ssl.SSLContext]) -> AsyncIterator[Tenant]:
    """The parts, until the block is left. Nothing waits for the control plane here: it is asked meanwhile."""
    if settings.org_id is None and settings.cp_upstream_url is None:
        yield Tenant()
        return
    async with (
        open_control_plane_client(trust) as http,
        open_control_plane_client(
            trust
        ) as http_for_browsers,  # apart: no number of slow calls keeps a session unchecked
        TaskScope() as scope,
    ):
        url, slug = settings.cp_upstream_url, settings.org_slug
        configuration = None
        if settings.org_id is not None:
            configuration = TenantConfiguration()
            scope.start(configuration.read(http, settings), name="tenant configuration")
        yield Tenant(
            variables=nothing_given if configuration is None else configuration.values,
            members=Members(http=http, upstream=url, slug=slug, scope=scope) if url and slug else None,
            upstream=Upstream(http_for_browsers, url) if url else None,
        )
