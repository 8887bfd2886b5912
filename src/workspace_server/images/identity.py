"""What a local build is made from, as ids, labels and tags; and what is pulled.

The *build id* is known before anything is fetched: it names the template's source, the commit and the platform. The
*image key* adds the Dockerfile and is stamped on the image after the fetch. Tags are for people and for a fast
look-up; what counts is the label.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from workspace_server.model import names
from workspace_server.runtimes import Template

LOCAL_HOST = "molecule-local"
_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildIdentity:
    """A template at a commit, for a platform (``os/architecture``)."""

    template: Template
    commit: str
    platform: str

    @property
    def parts(self) -> Mapping[str, str | int]:
        """The inputs of the build id, by name."""
        return {
            "v": _VERSION,
            "source": self.template.url.source,
            "commit": self.commit,
            "platform": self.platform,
        }

    @property
    def build_id(self) -> str:
        """sha256 of the parts as canonical JSON, 64 hex digits."""
        return _sha256_of(self.parts)

    def key(self, dockerfile: bytes) -> str:
        """The image key: sha256 of the build id and the Dockerfile's sha256, 64 hex digits."""
        return _sha256(f"{self.build_id}{_sha256(dockerfile)}".encode())

    @property
    def repository(self) -> str:
        """The image's local name without its tag. Nothing resolves it, and it is never pulled."""
        return f"{LOCAL_HOST}/workspace-template-{self.template.runtime}"

    @property
    def tag(self) -> str:
        """The tag of exactly this build: ``<sha12>[-<arch>][-<8 hex of the source>]``."""
        return f"{self.commit[:12]}{self._suffix}"

    @property
    def floating_tag(self) -> str:
        """The tag that follows the newest build, for people: ``latest`` with the same suffixes."""
        return f"latest{self._suffix}"

    @property
    def _suffix(self) -> str:
        architecture = self.platform.split("/", 1)[1].replace("/", "")
        arch = "" if architecture == "amd64" else f"-{architecture}"
        return arch if self.template.is_default else f"{arch}-{self.template.url.digest}"

    def labels(self, dockerfile: bytes) -> Mapping[str, str]:
        """What is stamped on the image."""
        return {
            names.MANAGED: "true",
            names.BUILD_ID: self.build_id,
            names.KEY: self.key(dockerfile),
            names.COMMIT: self.commit,
            names.SOURCE: self.template.url.source,
            names.PLATFORM: self.platform,
            names.DOCKERFILE: _sha256(dockerfile),
            names.RUNTIME: self.template.runtime,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PullIdentity:
    """A runtime's image in a registry, by tag or digest, for a platform (None: whatever the engine prefers)."""

    runtime: str
    reference: str
    platform: str | None

    @property
    def build_id(self) -> str:
        """What a pull's lock goes by, as a build's does: sha256 of its inputs as canonical JSON, 64 hex digits."""
        return _sha256_of({"v": _VERSION, "image": self.reference, "platform": self.platform})

    @property
    def host(self) -> str:
        """The registry, with its port when there is one."""
        return self.reference.split("/", 1)[0]

    @property
    def repository(self) -> str:
        """The reference without its tag or digest."""
        name, at, _ = self.reference.partition("@")
        return name if at else self.reference.rsplit(":", 1)[0]


def _sha256_of(parts: Mapping[str, str | int | None]) -> str:
    return _sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
