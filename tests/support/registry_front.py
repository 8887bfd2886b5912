"""What the large hosted registries have in front: tokens for each repository, blobs on another host, rate limits."""

import base64
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from multidict import CIMultiDict

from .gate import Gate
from .registry import Registry

_SMALL = 10_000  # bytes: no layer worth cutting
_HOP_BY_HOP = ("connection", "content-encoding", "date", "server", "transfer-encoding")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request: ``user`` is whose Basic credentials or token came with it, None without either."""

    method: str
    path: str
    authorization: str | None
    user: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer that every request for a manifest gets."""

    status: int
    code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class RegistryFront:
    """A registry that asks for bearer tokens. Everybody gets one who is in ``accounts``, or anybody if it is ``open``.

    ``blob_host`` is where layers really lie: whoever asks for one is sent there. ``refusal`` and ``cuts`` (so many
    answers with a layer end in the middle) are faults; ``gate`` holds layers until it is released. ``identity_tokens``
    are what some users show instead of a password: they are traded for a token.
    """

    backend: Registry
    accounts: Mapping[str, str]
    open: bool
    host: str = ""
    blob_host: str = ""
    refusal: Refusal | None = None
    cuts: int = 0
    gate: Gate | None = None
    identity_tokens: Mapping[str, str] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    blobs_seen: list[Seen] = field(default_factory=list)
    _tokens: dict[str, str] = field(default_factory=dict)

    def pulls(self) -> int:
        """Count the times that somebody asked which image a tag names, as each pull begins."""
        return sum(seen.method == "HEAD" and "/manifests/" in seen.path for seen in self.seen)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """What the registry itself answers."""
        self.seen.append(self._seen(request))
        if request.path == "/token":
            return await self._token(request)
        if self._user(request) is None:
            return self._challenge(request)
        if self.refusal is not None and "/manifests/" in request.path:
            return _refused(self.refusal)
        if "/blobs/" in request.path:
            return web.Response(status=307, headers={"Location": f"http://{self.blob_host}{request.path}"})
        return await self._passed_on(request)

    async def blob(self, request: web.BaseRequest) -> web.StreamResponse:
        """What the host of the layers answers."""
        self.blobs_seen.append(self._seen(request))
        if self.gate is not None:
            await self.gate.wait()
        headers = {name: value for name, value in request.headers.items() if name == "Range"}
        async with self.backend.session.get(request.path, headers=headers) as found:
            content = await found.read()
        ranges = {name: value for name, value in found.headers.items() if name == "Content-Range"}
        response = web.StreamResponse(status=found.status, headers=ranges)
        response.content_length = len(content)
        await response.prepare(request)
        if not self.cuts or len(content) < _SMALL:
            await response.write(content)
            return response
        self.cuts -= 1
        await response.write(content[: len(content) // 2])
        assert request.transport is not None
        request.transport.close()
        return response

    async def _token(self, request: web.BaseRequest) -> web.Response:
        user = self._basic(request)
        if request.method == "POST":
            user = self.identity_tokens.get(str((await request.post()).get("refresh_token")))
        if user is None and not self.open:
            denied = Refusal(status=403, code="DENIED", message="requested access to the resource is denied")
            return _refused(denied)
        token = secrets.token_urlsafe(24)
        self._tokens[token] = user or "anybody"
        name = "access_token" if request.method == "POST" else "token"
        return web.json_response({name: token, "expires_in": 300})

    def _challenge(self, request: web.BaseRequest) -> web.Response:
        parts = request.path.strip("/").split("/")
        scope = f',scope="repository:{"/".join(parts[1:-2])}:pull"' if len(parts) > 3 else ""
        challenge = f'Bearer realm="http://{self.host}/token",service="{self.host}"{scope}'
        return _refused(
            Refusal(
                status=401,
                code="UNAUTHORIZED",
                message="authentication required",
                headers={"WWW-Authenticate": challenge, "Docker-Distribution-Api-Version": "registry/2.0"},
            )
        )

    async def _passed_on(self, request: web.BaseRequest) -> web.Response:
        headers = CIMultiDict(("Accept", value) for value in request.headers.getall("Accept", ()))
        async with self.backend.session.request(request.method, request.path, headers=headers) as answer:
            kept = CIMultiDict(answer.headers)
            for name in (*_HOP_BY_HOP, *(["content-length"] if request.method != "HEAD" else [])):
                kept.popall(name, None)
            return web.Response(status=answer.status, headers=kept, body=await answer.read() or None)

    def _seen(self, request: web.BaseRequest) -> Seen:
        return Seen(
            method=request.method,
            path=request.path,
            authorization=request.headers.get("Authorization"),
            user=self._basic(request) or self._user(request),
        )

    def _user(self, request: web.BaseRequest) -> str | None:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        return self._tokens.get(token) if kind == "Bearer" else None

    def _basic(self, request: web.BaseRequest) -> str | None:
        kind, _, encoded = request.headers.get("Authorization", "").partition(" ")
        if kind != "Basic":
            return None
        user, _, password = base64.b64decode(encoded).decode().partition(":")
        return user if self.accounts.get(user) == password else None


@asynccontextmanager
async def registry_front(
    backend: Registry, *, accounts: Mapping[str, str] | None = None, open_to_all: bool = False
) -> AsyncIterator[RegistryFront]:
    """Run one in front of a registry."""
    front = RegistryFront(backend=backend, accounts=accounts or {}, open=open_to_all)
    async with _serving(front.answer) as front.host, _serving(front.blob) as front.blob_host:
        try:
            yield front
        finally:
            if front.gate is not None:
                front.gate.release()


@asynccontextmanager
async def _serving(answer: "web._RequestHandler") -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(answer, handler_cancellation=True, access_log=None), shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _refused(refusal: Refusal) -> web.Response:
    body = json.dumps({"errors": [{"code": refusal.code, "message": refusal.message}]})
    return web.Response(status=refusal.status, headers=refusal.headers, text=body, content_type="application/json")
