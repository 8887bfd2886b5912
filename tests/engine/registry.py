"""A registry on this machine, of one image, that can refuse, miss, and lose its layers."""

import gzip
import hashlib
import io
import json
import secrets
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(kw_only=True)
class Registry:
    """``host`` is what references begin with; ``requests`` has every path that was asked for."""

    labels: dict[str, str]
    host: str = ""
    loses_layers: bool = False
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as tar:
            entry = tarfile.TarInfo("hello")
            content = secrets.token_bytes(16)  # else the engine has the layer from another test
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        packed = gzip.compress(layer.getvalue(), mtime=0)
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Labels": self.labels},
                "rootfs": {"type": "layers", "diff_ids": [digest(layer.getvalue())]},
            }
        ).encode()
        self.layer = digest(packed)
        self.blobs = {digest(config): config, self.layer: packed}
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, "size": len(config), "digest": digest(config)},
                "layers": [{"mediaType": LAYER, "size": len(packed), "digest": self.layer}],
            }
        ).encode()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The distribution API, as far as a pull needs it: ``hello`` is there, ``denied`` is refused."""
        self.requests.append(request.path)
        match request.path.strip("/").split("/"):
            case ["v2"]:
                return web.Response()
            case ["v2", "hello", "manifests", "1" | "latest"]:
                headers = {"Docker-Content-Digest": digest(self.manifest), "Content-Type": MANIFEST}
                return web.Response(body=self.manifest, headers=headers)
            case ["v2", "hello", "manifests", reference] if reference == digest(self.manifest):
                return web.Response(body=self.manifest, content_type=MANIFEST)
            case ["v2", "hello", "blobs", blob] if blob in self.blobs:
                return self._blob(blob)
            case ["v2", "denied", *_]:
                return web.json_response(
                    {"errors": [{"code": "DENIED", "message": "requested access is denied"}]}, status=403
                )
        return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}, status=404)

    def _blob(self, blob: str) -> web.StreamResponse:
        if blob == self.layer and self.loses_layers:
            return web.json_response({"errors": [{"code": "BLOB_UNKNOWN", "message": "blob unknown"}]}, status=404)
        return web.Response(body=self.blobs[blob])


@asynccontextmanager
async def registry(labels: dict[str, str]) -> AsyncIterator[Registry]:
    """Serve on loopback, where an engine on this machine speaks plain HTTP."""
    served = Registry(labels=labels)
    runner = web.ServerRunner(web.Server(served.answer), shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        served.host = f"127.0.0.1:{runner.addresses[0][1]}"
        yield served
    finally:
        await runner.cleanup()
