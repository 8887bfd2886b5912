"""What a template must hold to be built."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from workspace_server.errors import TemplateError
from workspace_server.images.template import read_config, read_dockerfile

from .making import COMMIT, URL, template

Read = Callable[[Path], bytes | None]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    return tree


def dockerfile(tree: Path) -> bytes:
    return read_dockerfile(tree, template(), COMMIT)


def config(tree: Path) -> bytes | None:
    return read_config(tree, template(), COMMIT)


LARGEST_KIB = {"Dockerfile": 1024, "config.yaml": 256}
BOTH = pytest.mark.parametrize(("name", "read"), [("Dockerfile", dockerfile), ("config.yaml", config)])


def refusal(read: Read, tree: Path) -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        read(tree)
    assert caught.value.code == "template_malformed"
    return caught.value


def test_a_missing_dockerfile_is_named_with_template_and_commit(tree: Path) -> None:
    assert refusal(dockerfile, tree).message == (
        f"local-build mode: the template of hermes, {URL} at commit {COMMIT[:12]}, has no Dockerfile at its root"
    )


def test_a_missing_config_is_none(tree: Path) -> None:
    assert config(tree) is None


@BOTH
def test_a_regular_file_is_read(tree: Path, name: str, read: Read) -> None:
    (tree / name).write_bytes(b"FROM x\r\n\xff")

    assert read(tree) == b"FROM x\r\n\xff"


@BOTH
def test_a_link_to_a_file_inside_is_followed(tree: Path, name: str, read: Read) -> None:
    (tree / "docker").mkdir()
    (tree / "docker" / "file").write_bytes(b"FROM x\n")
    (tree / name).symlink_to("docker/../docker/file")

    assert read(tree) == b"FROM x\n"


@BOTH
@pytest.mark.parametrize("target", ["../outside", "/etc/passwd", "nowhere", ".", "..", "self", "docker"])
def test_a_link_to_anything_else_is_refused(tree: Path, name: str, read: Read, target: str) -> None:
    (tree.parent / "outside").write_bytes(b"FROM x\n")
    (tree / "docker").mkdir()
    (tree / name).symlink_to(name if target == "self" else target)

    assert f"has a {name} that is not a regular file inside it" in refusal(read, tree).message


@BOTH
def test_a_link_through_a_link_that_leaves_is_refused(tree: Path, name: str, read: Read) -> None:
    (tree.parent / "outside").mkdir()
    (tree.parent / "outside" / "file").write_bytes(b"FROM x\n")
    (tree / "folder").symlink_to("../outside")
    (tree / name).symlink_to("folder/file")

    assert "is not a regular file inside it" in refusal(read, tree).message


@BOTH
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused(tree: Path, name: str, read: Read, make: Callable[[Path], None]) -> None:
    make(tree / name)

    assert f"has a {name} that is not a regular file inside it" in refusal(read, tree).message


@BOTH
def test_a_file_of_the_largest_size_is_read(tree: Path, name: str, read: Read) -> None:
    (tree / name).write_bytes(bytes(LARGEST_KIB[name] * 1024))

    assert len(read(tree) or b"") == LARGEST_KIB[name] * 1024


@BOTH
def test_a_larger_file_is_refused(tree: Path, name: str, read: Read) -> None:
    (tree / name).write_bytes(bytes(LARGEST_KIB[name] * 1024 + 1))

    assert f"has a {name} of more than {LARGEST_KIB[name]} KiB" in refusal(read, tree).message
