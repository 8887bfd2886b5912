"""Images as a registry keeps them: blobs by digest, and a manifest; made in memory in a moment."""

import gzip
import hashlib
import io
import json
import secrets
import struct
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def digest(content: bytes) -> str:
    """Return what a registry calls this content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedImage:
    """An image of one platform. ``layers`` are the digests of those of the ``blobs`` that are layers, in order."""

    platform: str
    blobs: Mapping[str, bytes]
    layers: Sequence[str]
    manifest: bytes

    @property
    def digest(self) -> str:
        """What the registry calls the image."""
        return digest(self.manifest)

    @property
    def id(self) -> str:
        """What an engine calls the image."""
        return str(json.loads(self.manifest)["config"]["digest"])


def packed_image(
    labels: Mapping[str, str],
    *,
    platform: str = "linux/amd64",
    layers: int = 1,
    layer_bytes: int = 16,
    base: PackedImage | None = None,
    command: Sequence[str] = (),
) -> PackedImage:
    """Make an image with these labels that no engine has a layer of yet, but those of its ``base``."""
    packed = [] if base is None else [base.blobs[layer] for layer in base.layers]
    diffs = [gzip.decompress(layer) for layer in packed]
    for n in range(layers):
        diffs.append(_layer(f"layer-{n}", secrets.token_bytes(layer_bytes)))
        packed.append(gzip.compress(diffs[-1], compresslevel=0, mtime=0))
    os_name, architecture, *variant = platform.split("/")
    config = json.dumps(
        {
            "os": os_name,
            "architecture": architecture,
            **({"variant": variant[0]} if variant else {}),
            "config": {"Labels": dict(labels), "Cmd": list(command)},
            "rootfs": {"type": "layers", "diff_ids": [digest(diff) for diff in diffs]},
        }
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": _CONFIG, "size": len(config), "digest": digest(config)},
        "layers": [{"mediaType": _LAYER, "size": len(layer), "digest": digest(layer)} for layer in packed],
    }
    return PackedImage(
        platform=platform,
        blobs={digest(blob): blob for blob in (config, *packed)},
        layers=[digest(layer) for layer in packed],
        manifest=json.dumps(manifest).encode(),
    )


def waiting_image(labels: Mapping[str, str], platform: str) -> PackedImage:
    """Make an image whose one program, of some hundred bytes, waits for ever."""
    program = _waiting_program(platform.split("/")[1])
    packed = gzip.compress(_layer("wait", program), mtime=0)
    base = PackedImage(platform=platform, blobs={digest(packed): packed}, layers=[digest(packed)], manifest=b"")
    return packed_image(labels, platform=platform, base=base, command=["/wait"])


def index_of(images: Sequence[PackedImage]) -> bytes:
    """Return the manifest list of one image for several platforms."""
    manifests = []
    for image in images:
        os_name, architecture, *variant = image.platform.split("/")
        platform = {"os": os_name, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
        entry = {"mediaType": MANIFEST, "size": len(image.manifest), "digest": image.digest, "platform": platform}
        manifests.append(entry)
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).encode()


def _waiting_program(architecture: str) -> bytes:
    """An ELF file for Linux that asks the kernel to wait, again and again."""
    machine, code = {
        "amd64": (62, bytes.fromhex("b822000000 0f05 ebf7")),  # pause()
        "arm64": (183, struct.pack("<8I", *(0xD2800000 + n for n in range(5)), 0xD2800928, 0xD4000001, 0x17FFFFF9)),
    }[architecture]  # ppoll(0, 0, 0, 0, 0)
    size = 64 + 56 + len(code)
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, machine, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, size, size, 0x1000) + code


def _layer(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.mode = 0o755
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()
