"""A control plane on this machine, and the client for it."""

import ssl
from collections.abc import AsyncIterator

import httpx
import pytest

from support.control_plane_edge import ControlPlaneEdge, control_plane_edge
from workspace_server.control_plane.connection import open_control_plane_client


@pytest.fixture
async def plane() -> AsyncIterator[ControlPlaneEdge]:
    async with control_plane_edge() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with open_control_plane_client(ssl.create_default_context) as client:
        yield client
