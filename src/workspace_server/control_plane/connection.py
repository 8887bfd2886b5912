"""How the control plane is called: at the addresses of the settings and no other, and with bounds for its answers."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

LARGEST_ANSWER = 64 * 1024
CONNECT_SECONDS = 5.0


@asynccontextmanager
async def open_control_plane_client(trust: Callable[[], ssl.SSLContext]) -> AsyncIterator[httpx.AsyncClient]:
    """The HTTP client for the control plane. It follows no redirect and keeps no cookie.

    ``trust`` may read files. Plain http goes to the host itself: a proxy would be told sessions in plain text.
    """
    client = httpx.AsyncClient(
        verify=await asyncio.to_thread(trust),
        timeout=httpx.Timeout(10.0, connect=CONNECT_SECONDS),
        follow_redirects=False,
        mounts={"http://": None},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )
    async with client:
        yield client


async def json_of(response: httpx.Response) -> Any:
    """The JSON of an answer. Raises ValueError when it has more than 64 KiB, or is none; nothing of it is repeated."""
    body = bytearray()
    async for chunk in response.aiter_raw():  # as it came: a few compressed bytes may stand for a great many
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise ValueError("the answer is larger than 64 KiB")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("the answer is no JSON") from None
