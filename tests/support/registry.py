"""A real image registry on the loopback interface: Debian's ``docker-registry``, plain or with TLS, open or not."""

import asyncio
import io
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from .images import INDEX, MANIFEST, PackedImage, digest, index_of
from .ports import free_port
from .processes import running
from .server import eventually

USER, PASSWORD = "somebody", "correct horse"
_HTPASSWD = f"{USER}:$2y$05$registrytestsaltsaltsOtIzlyjxoOEIG6WoKIQdLZb5WW495mvS\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A server's certificate for 127.0.0.1, its key, and the authority that nobody knows."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A registry that runs. ``host`` is what the references of its images begin with."""

    host: str
    storage: Path
    log: Path
    session: aiohttp.ClientSession

    async def push(self, repository: str, image: PackedImage, *more: PackedImage, tag: str = "latest") -> str:
        """Put an image in, for several platforms when there are more, and return the digest of what the tag names."""
        for each in (image, *more):
            for blob in each.blobs.values():
                await self._put_blob(repository, blob)
            await self._put_manifest(repository, each.digest if more else tag, each.manifest, MANIFEST)
        if not more:
            return image.digest
        index = index_of((image, *more))
        await self._put_manifest(repository, tag, index, INDEX)
        return digest(index)

    async def name(self, repository: str, old: str, new: str) -> None:
        """Give what has a tag another tag as well."""
        async with self.session.get(f"/v2/{repository}/manifests/{old}", headers={"Accept": MANIFEST}) as found:
            assert found.status == 200, await found.text()
            manifest = await found.read()
        await self._put_manifest(repository, new, manifest, MANIFEST)

    def damage(self, blob: str, content: bytes | None = None) -> None:
        """Replace what the registry has under a digest, or lose it."""
        kind, _, value = blob.partition(":")
        data = self.storage / "docker/registry/v2/blobs" / kind / value[:2] / value / "data"
        if content is None:
            data.unlink()
        else:
            data.write_bytes(content)

    def forget(self, repository: str) -> None:
        """Have no image of that name any more."""
        shutil.rmtree(self.storage / "docker/registry/v2/repositories" / repository)

    async def _put_blob(self, repository: str, blob: bytes) -> None:
        async with self.session.post(f"/v2/{repository}/blobs/uploads/") as begun:
            assert begun.status == 202, await begun.text()
        where = begun.headers["Location"]
        separator = "&" if "?" in where else "?"
        async with self.session.put(f"{where}{separator}digest={digest(blob)}", data=io.BytesIO(blob)) as done:
            assert done.status == 201, await done.text()

    async def _put_manifest(self, repository: str, reference: str, manifest: bytes, kind: str) -> None:
        path = f"/v2/{repository}/manifests/{reference}"
        async with self.session.put(path, data=manifest, headers={"Content-Type": kind}) as done:
            assert done.status == 201, await done.text()


@asynccontextmanager
async def registry(
    directory: Path, *, private: bool = False, tls: Certificate | None = None
) -> AsyncIterator[Registry]:
    """Run a registry on this directory. A ``private`` one wants ``USER`` and ``PASSWORD``, by Basic authentication."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.fail("docker-registry is missing: apt-get install docker-registry", pytrace=False)
    host = f"127.0.0.1:{free_port()}"
    directory.mkdir(parents=True)  # noqa: ASYNC240 - a test's
    file, log = directory / "config.yml", directory / "registry.log"
    file.write_text(yaml.safe_dump(_configuration(directory, host, private=private, tls=tls)))
    context = False if tls is None else ssl.create_default_context(cafile=str(tls.certificate))
    headers = {"Authorization": aiohttp.encode_basic_auth(USER, PASSWORD)} if private else None
    url = f"{'https' if tls else 'http'}://{host}"
    with log.open("wb") as out:
        async with (
            running(program, "serve", str(file), env={}, stdout=out, stderr=out) as process,
            aiohttp.ClientSession(url, headers=headers, connector=aiohttp.TCPConnector(ssl=context)) as session,
        ):
            served = Registry(host=host, storage=directory, log=log, session=session)
            await eventually(lambda: _answers(served, process), "the registry answers", 10)
            yield served


async def make_certificate(directory: Path) -> Certificate:
    """Make a certificate for 127.0.0.1 that nobody has signed but itself."""
    made = Certificate(certificate=directory / "registry.crt", key=directory / "registry.key")
    options = ["-x509", "-nodes", "-days", "2", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    names = ["-subj", "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(made.key), "-out", str(made.certificate)]
    async with running("openssl", "req", *options, *names, *files, env={}) as process:
        assert await process.wait() == 0
    return made


def _configuration(directory: Path, host: str, *, private: bool, tls: Certificate | None) -> dict[str, Any]:
    http: dict[str, Any] = {"addr": host, "secret": "of this test alone"}
    if tls is not None:
        http["tls"] = {"certificate": str(tls.certificate), "key": str(tls.key)}
    configuration: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(directory)}},
        "http": http,
    }
    if private:
        passwords = directory / "htpasswd"
        passwords.write_text(_HTPASSWD)
        configuration["auth"] = {"htpasswd": {"realm": "a registry", "path": str(passwords)}}
    return configuration


async def _answers(served: Registry, process: asyncio.subprocess.Process) -> bool:
    assert process.returncode is None, served.log.read_text()
    try:
        async with served.session.get("/v2/") as answer:
            return answer.status == 200
    except aiohttp.ClientConnectionError:
        return False
