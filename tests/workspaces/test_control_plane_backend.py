"""What of the backend that is a control plane is not seen through a server; the rest is in tests/contract."""

import asyncio
import ssl
from typing import Any, cast

from support.control_plane import ADMIN_KEY, ORG, SECRET, TENANT_TOKEN, control_plane
from workspace_server.control_plane.access import Access
from workspace_server.control_plane.connection import open_control_plane_client
from workspace_server.control_plane.machines import ControlPlane
from workspace_server.workspaces.control_plane_backend import ControlPlaneBackend, Pace

NOBODY = cast("Any", None)


async def test_a_console_that_is_not_told_in_time_holds_nobody_up() -> None:
    async with control_plane() as served, open_control_plane_client(ssl.create_default_context) as http:
        access = Access(
            url=served.url, org_id=ORG, shared_secret=SECRET, tenant_token=TENANT_TOKEN, admin_key=ADMIN_KEY
        )
        backend = ControlPlaneBackend(
            control_plane=ControlPlane(http, access),
            instances=NOBODY,
            workspaces=NOBODY,
            tokens=NOBODY,
            secrets=NOBODY,
            settings=NOBODY,
            pace=Pace(look=0.1),
        )
        served.fault("console", late=3600)
        words = await asyncio.wait_for(backend.last_words("w"), 5)

    assert words == "(its console could not be read)"
