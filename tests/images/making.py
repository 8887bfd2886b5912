"""Templates, identities and images that cost nothing: an image is loaded as a file, not built."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping

from support.engine import Engine
from workspace_server.images.identity import BuildIdentity
from workspace_server.images.ledger import ImageLedger
from workspace_server.model.repository import RepositoryUrl
from workspace_server.runtimes import Template

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER_COMMIT = "fedcba9876543210fedcba9876543210fedcba98"
URL = "https://git.example.org/team/template"


def template(runtime: str = "hermes", url: str = URL, *, ref: str | None = None, is_default: bool = False) -> Template:
    return Template(runtime=runtime, url=RepositoryUrl.parse(url), ref=ref, is_default=is_default)


def identity(of: Template, commit: str = COMMIT, platform: str = "linux/amd64") -> BuildIdentity:
    return BuildIdentity(template=of, commit=commit, platform=platform)


async def load_image(
    api: Engine,
    *,
    labels: Mapping[str, str],
    tags: tuple[str, ...] = (),
    platform: str = "linux/amd64",
    created: str = "2026-01-01T00:00:00Z",
) -> str:
    """Put an image with exactly these labels, tags and this platform on the engine, and return its id."""
    layer = _tar({"file": b"x"})
    os_name, architecture, *variant = platform.split("/")
    config = json.dumps(
        {
            "created": created,
            "os": os_name,
            "architecture": architecture,
            **({"variant": variant[0]} if variant else {}),
            "config": {"Labels": dict(labels)},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    digest = hashlib.sha256(config).hexdigest()
    manifest = [{"Config": f"{digest}.json", "RepoTags": list(tags), "Layers": ["layer.tar"]}]
    files = {f"{digest}.json": config, "layer.tar": layer, "manifest.json": json.dumps(manifest).encode()}
    await api.call("POST", "/images/load", _tar(files))
    return f"sha256:{digest}"


async def made_image(
    api: Engine,
    ledger: ImageLedger,
    build: BuildIdentity,
    *tags: str,
    platform: str | None = None,
) -> str:
    """An image as a build of this cache leaves it, with these tags; put on the engine, and its id returned."""
    image = await load_image(api, labels=labels_of(build), tags=tags, platform=platform or build.platform)
    ledger.note_made(image, build.build_id)
    return image


def labels_of(build: BuildIdentity, **others: str) -> dict[str, str]:
    """What a build of ``build`` stamps on its image, with ``others`` instead or besides."""
    return {**build.labels(b"FROM scratch\n"), **others}


def _tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()
