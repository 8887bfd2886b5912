"""The agent inside of a test control plane's machine: registers without a token, beats, and answers messages."""

import asyncio
import json
from contextlib import suppress

import httpx

_BEAT_SECONDS = 1.0
_RETRY_SECONDS = 0.2


class Agent:
    """One agent, as long as its machine runs."""

    def __init__(self, platform_url: str, workspace_id: str) -> None:
        self.token: str | None = None
        self.refused: list[int] = []
        self._platform_url = platform_url
        self._workspace_id = workspace_id
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        self._task.cancel()

    async def close(self) -> None:
        self.stop()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            async with httpx.AsyncClient(base_url=self._platform_url, trust_env=False) as http:
                card = {"name": "agent"}
                await self._call(http, "/registry/register", {"id": self._workspace_id, "url": url, "agent_card": card})
                while True:
                    await asyncio.sleep(_BEAT_SECONDS)
                    await self._call(http, "/registry/heartbeat", {"workspace_id": self._workspace_id})
        finally:
            server.close()

    async def _call(self, http: httpx.AsyncClient, path: str, body: object) -> None:
        """Until the server took it."""
        while True:
            headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
            with suppress(httpx.TransportError):
                response = await http.post(path, json=body, headers=headers)
                if response.status_code == 200:
                    self.token = response.json().get("auth_token", self.token)
                    return
                self.refused.append(response.status_code)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One message: it is echoed."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = next(int(line.split(":")[1]) for line in head.splitlines() if line.startswith("content-length:"))
            message = json.loads(await reader.readexactly(length))
            parts = message["params"]["message"]["parts"]
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": {"kind": "message", "parts": parts}}
            body = json.dumps(answer).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        writer.close()


def agent(platform_url: str, workspace_id: str) -> Agent:
    """Start one."""
    return Agent(platform_url, workspace_id)
