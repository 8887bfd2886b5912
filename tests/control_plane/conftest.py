"""A control plane, and the client of one server."""

import ssl
from collections.abc import AsyncIterator

import pytest

from support.control_plane import ControlPlane as Served
from support.control_plane import control_plane, variables
from workspace_server.control_plane.access import Access
from workspace_server.control_plane.connection import open_control_plane_client
from workspace_server.control_plane.machines import ControlPlane
from workspace_server.settings import load_settings

SECONDS = 0.5


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with control_plane() as opened:
        yield opened


@pytest.fixture
async def client(served: Served) -> AsyncIterator[ControlPlane]:
    access = Access.from_settings(load_settings({"HOME": "/nonexistent", **variables(served)}))
    async with open_control_plane_client(ssl.create_default_context) as http:
        yield ControlPlane(http, access, seconds=SECONDS)
