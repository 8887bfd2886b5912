"""The builder of both sides: docker's buildx plug-in."""

import os
from pathlib import Path


def link_buildx(home: Path) -> None:
    """Let docker find the plug-in in another home, too: the user's own, or the file that MOLECULE_TEST_BUILDX names.

    One that lies in docker's own folders is found anyway.
    """
    folder = home / ".docker" / "cli-plugins"
    folder.mkdir(parents=True)
    if plugin := os.environ.get("MOLECULE_TEST_BUILDX"):
        (folder / "docker-buildx").symlink_to(Path(plugin).resolve(strict=True))
    elif (own := Path.home() / ".docker/cli-plugins/docker-buildx").exists():
        (folder / "docker-buildx").symlink_to(own.resolve())
