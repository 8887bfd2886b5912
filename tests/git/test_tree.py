import asyncio
import os
from pathlib import Path

import pytest

from support.git_cli import git
from support.git_objects import FileMap, ObjectFormat, executable, submodule, symlink
from support.git_server import GitServer
from workspace_server.git import tree
from workspace_server.git.tree import MissingObjectError, Tree, UnusableTreeError, difference, read_tree

ID = "a" * 40
FILES: FileMap = {
    "Dockerfile": "FROM scratch\n",
    "bin/run": executable("#!/bin/sh\n"),
    "bin/deep/er": "x",
    "link": symlink("bin/run"),
    "new\nline": "y",
}


def line(path: str | bytes, mode: str = "100644", kind: str = "blob", size: str = "1") -> bytes:
    """One entry as ``git ls-tree -l -z`` writes it."""
    return f"{mode} {kind} {ID} {size:>7}\t".encode() + (path.encode() if isinstance(path, str) else path) + b"\0"


async def export(host: GitServer, folder: Path, object_format: ObjectFormat, digits: int) -> tuple[Path, Tree]:
    """A folder as git makes it from a commit, and the commit's tree."""
    files = {**FILES, "module": submodule("1" * digits)}
    repository = await host.create("o/n", files, object_format=object_format)
    await asyncio.to_thread(folder.mkdir, 0o755)
    where = (f"--git-dir={repository.directory}", f"--work-tree={folder}")
    await git(*where, "checkout", "--force", "main", "--", ".", cwd=folder)
    listing = await git(f"--git-dir={repository.directory}", "ls-tree", "-r", "-l", "-z", "main")
    return folder, read_tree(listing.encode())


@pytest.fixture
async def exported(host: GitServer, tmp_path: Path) -> tuple[Path, Tree]:
    return await export(host, tmp_path / "folder", "sha1", 40)


def test_what_git_checked_out_is_equal(exported: tuple[Path, Tree]) -> None:
    assert difference(*exported) is None


async def test_what_git_checked_out_of_a_sha256_repository_is_equal(host: GitServer, tmp_path: Path) -> None:
    assert difference(*await export(host, tmp_path / "folder", "sha256", 64)) is None


def same_size(folder: Path) -> None:
    (folder / "Dockerfile").write_text("FROM scratcH\n")


def longer(folder: Path) -> None:
    (folder / "Dockerfile").write_text("FROM scratch\n\n")


def removed(folder: Path) -> None:
    (folder / "bin" / "deep" / "er").unlink()


def extra_file(folder: Path) -> None:
    (folder / "bin" / "extra").write_text("")


def extra_folder(folder: Path) -> None:
    (folder / "extra").mkdir()


def in_the_submodule(folder: Path) -> None:
    (folder / "module" / "x").write_text("")


def not_executable(folder: Path) -> None:
    (folder / "bin" / "run").chmod(0o644)


def group_writable(folder: Path) -> None:
    (folder / "Dockerfile").chmod(0o664)


def set_user_id(folder: Path) -> None:
    (folder / "bin" / "run").chmod(0o4755)


def private_folder(folder: Path) -> None:
    (folder / "bin").chmod(0o700)


def private_root(folder: Path) -> None:
    folder.chmod(0o700)


def other_target(folder: Path) -> None:
    (folder / "link").unlink()
    (folder / "link").symlink_to("bin/rum")


def link_for_file(folder: Path) -> None:
    (folder / "Dockerfile").rename(folder.parent / "Dockerfile")
    (folder / "Dockerfile").symlink_to(folder.parent / "Dockerfile")


def file_for_link(folder: Path) -> None:
    (folder / "link").unlink()
    (folder / "link").write_text("bin/run")


def link_for_folder(folder: Path) -> None:
    (folder / "bin").rename(folder.parent / "bin")
    (folder / "bin").symlink_to(folder.parent / "bin")


def fifo_for_file(folder: Path) -> None:
    (folder / "Dockerfile").unlink()
    os.mkfifo(folder / "Dockerfile", 0o644)


def nothing_left(folder: Path) -> None:
    folder.rename(folder.parent / "away")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (same_size, "'Dockerfile' has another content"),
        (longer, "'Dockerfile' has another content"),
        (removed, "'bin/deep/er' is missing"),
        (extra_file, "'bin/extra' is not in the commit"),
        (extra_folder, "'extra' is not in the commit"),
        (in_the_submodule, "'module/x' is not in the commit"),
        (not_executable, "'bin/run' has the mode 100644 instead of 100755"),
        (group_writable, "'Dockerfile' has the mode 100664 instead of 100644"),
        (set_user_id, "'bin/run' has the mode 104755 instead of 100755"),
        (private_folder, "'bin' has the mode 40700 instead of 40755"),
        (private_root, "'.' has the mode 40700 instead of 40755"),
        (other_target, "'link' has another content"),
        (link_for_file, "'Dockerfile' has the mode 120777 instead of 100644"),
        (file_for_link, "'link' is no link"),
        (link_for_folder, "'bin' has the mode 120777 instead of 40755"),
        (fifo_for_file, "'Dockerfile' has the mode 10644 instead of 100644"),
    ],
)
def test_every_edit_is_seen(exported: tuple[Path, Tree], edit: object, said: str) -> None:
    folder, files = exported
    assert callable(edit)
    edit(folder)
    assert difference(folder, files) == said


def test_a_folder_that_is_gone_is_a_difference(exported: tuple[Path, Tree]) -> None:
    folder, files = exported
    nothing_left(folder)
    assert difference(folder, files) == f"{os.fsencode(folder)!r} cannot be read: No such file or directory"


def test_an_empty_tree_is_an_empty_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert difference(tmp_path, read_tree(b"")) is None


def test_a_name_may_be_any_bytes() -> None:
    assert list(read_tree(line(b"new\nline\xff\t"))) == [b"new\nline\xff\t"]


def test_modes_of_old_tools_are_those_git_writes() -> None:
    files = read_tree(line("a", mode="100664") + line("b", mode="100775"))
    assert [entry.kind for entry in files.values()] == [0o100644, 0o100755]


@pytest.mark.parametrize(
    "name",
    [
        ".git",
        ".GIT",
        ".git ",
        ".git.. .",
        "git~1",
        ".git::$INDEX_ALLOCATION",
        ".git\\x",
        ".g\u200cit",
        "..",
        ".",
        "",
    ],
)
@pytest.mark.parametrize("place", ["{}", "{}/config", "a/{}", "a/{}/b"])
def test_a_name_that_git_refuses_is_refused(name: str, place: str) -> None:
    with pytest.raises(UnusableTreeError):
        read_tree(line(place.format(name)))


@pytest.mark.parametrize("name", [".gitignore", ".github/x", "x.git", "git", ".gitmodules", "..a", "git~10"])
def test_a_name_that_only_looks_like_it_is_taken(name: str) -> None:
    assert list(read_tree(line(name))) == [name.encode()]


def test_a_link_for_the_list_of_submodules_is_refused() -> None:
    with pytest.raises(UnusableTreeError):
        read_tree(line("a/.gitModules", mode="120000"))


def test_a_hostile_name_is_shown_without_control_characters() -> None:
    with pytest.raises(UnusableTreeError) as caught:
        read_tree(line("\x1b[31m/.git"))
    assert str(caught.value) == "it has a file of the name '\\x1b[31m/.git', which git refuses to write"


@pytest.mark.parametrize("listing", [line("a") + line("a"), line("a") + line("a/b"), line("a/b") + line("a")])
def test_a_name_is_one_file_or_one_folder(listing: bytes) -> None:
    with pytest.raises(UnusableTreeError):
        read_tree(listing)


def test_a_content_that_is_not_in_the_store_is_told_from_a_bad_tree() -> None:
    with pytest.raises(MissingObjectError):
        read_tree(line("a", size="BAD"))


@pytest.mark.parametrize("listing", [b"040000 tree " + ID.encode() + b" -\ta\0", b"nonsense\0"])
def test_what_is_no_file_is_refused(listing: bytes) -> None:
    with pytest.raises(UnusableTreeError):
        read_tree(listing)


def test_twenty_thousand_files_are_taken() -> None:
    assert len(read_tree(b"".join(line(f"{n}") for n in range(20_000)))) == 20_000


def test_one_more_is_refused_with_the_limit() -> None:
    with pytest.raises(UnusableTreeError, match=r"^it has more than 20000 files$"):
        read_tree(b"".join(line(f"{n}") for n in range(20_001)))


def test_a_list_that_was_cut_off_is_refused() -> None:
    with pytest.raises(UnusableTreeError):
        read_tree(line("a") + line("b")[:-1])


def test_half_a_gibibyte_is_taken() -> None:
    assert len(read_tree(line("a", size=str(tree.MAX_BYTES - 1)) + line("b"))) == 2


def test_one_byte_more_is_refused_with_the_limit() -> None:
    with pytest.raises(UnusableTreeError, match=r"^its files have more than 512 MiB$"):
        read_tree(line("a", size=str(tree.MAX_BYTES)) + line("b"))
