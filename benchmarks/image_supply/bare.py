"""What a person types instead: git and docker, with everything that a workspace of tier 2 has."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from workspace_server.model import names

PLATFORM = "linux/amd64"
LABEL = "workspace-server.benchmark"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    """Lines of shell. Everything they make on the engine carries ``label``; containers and volumes are named."""

    label: str

    def look_up(self, url: str) -> str:
        """Say which commit is the newest."""
        return shlex.join(["git", "ls-remote", url, "HEAD"])

    def clone(self, url: str, folder: Path) -> str:
        """The newest commit's files."""
        return shlex.join(["git", "clone", "--quiet", "--depth", "1", url, str(folder)])

    def fetch(self, folder: Path) -> str:
        """The newest commit's files in a clone of an older one."""
        git = ["git", "-C", str(folder)]
        fetch = shlex.join([*git, "fetch", "--quiet", "--depth", "1", "origin", "HEAD"])
        return f"{fetch}\n{shlex.join([*git, 'reset', '--quiet', '--hard', 'FETCH_HEAD'])}"

    def build(self, folder: Path, tag: str) -> str:
        """The image of a folder, as the server builds it."""
        return shlex.join(
            [
                *("docker", "buildx", "build", "--quiet", "--builder", "default", "--load", "--provenance=false"),
                *("--platform", PLATFORM, "--label", self.label, "--tag", tag, str(folder)),
            ]
        )

    def run(self, name: str, image: str) -> str:
        """A container that runs."""
        return shlex.join(["docker", "run", "--detach", *self.settings(name), image])

    def create(self, name: str, image: str) -> str:
        """A container that does not run yet."""
        return shlex.join(["docker", "create", *self.settings(name), image])

    def run_with_files(self, name: str, image: str, folder: Path) -> str:
        """The same, with the files of ``folder`` in its configuration volume before it runs."""
        copy = shlex.join(["docker", "cp", "--quiet", "--archive", f"{folder}/.", f"{name}:/configs"])
        return f"{self.create(name, image)}\n{copy}\n{shlex.join(['docker', 'start', name])}"

    def settings(self, name: str) -> list[str]:
        """What a workspace's container has: volumes, network, port, limits, platform, environment."""
        volumes = [
            f"type=volume,source={volume},target={target},volume-label={self.label}"
            for volume, target in zip(self.volumes(name), ("/configs", "/workspace"), strict=True)
        ]
        environment = [f"WORKSPACE_ID={name}", "WORKSPACE_CONFIG_PATH=/configs", "PLATFORM_URL=http://127.0.0.1:1"]
        return [
            *("--name", name, "--label", self.label, "--platform", PLATFORM, "--network", names.NETWORK),
            *("--publish", "127.0.0.1::8000", "--memory", "512m", "--cpus", "1"),
            *(word for mount in volumes for word in ("--mount", mount)),
            *(word for variable in environment for word in ("--env", variable)),
        ]

    def volumes(self, name: str) -> tuple[str, str]:
        """The names of a container's volumes."""
        return f"{name}-configs", f"{name}-workspace"

    def remove(self, *containers: str) -> str:
        """Everything of these containers."""
        volumes = [volume for name in containers for volume in self.volumes(name)]
        removed = shlex.join(["docker", "rm", "--force", *containers])
        return f"{removed}\n{shlex.join(['docker', 'volume', 'rm', *volumes])}"
