"""The example template as a Git repository: the same files always give the same commit."""

import os
from pathlib import Path

import pytest

import support
from support.git_cli import git
from workspace_server.cli.example import make_repository
from workspace_server.errors import UnavailableError

EXAMPLE = Path(support.__file__).parents[2] / "examples" / "echo"
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return template(tmp_path / "files")


def template(directory: Path) -> Path:
    """A small template: a Dockerfile, a package, a program."""
    (directory / "agent").mkdir(parents=True)
    (directory / "Dockerfile").write_text("FROM scratch\n")
    (directory / "agent" / "__init__.py").write_text("")
    (directory / "run").write_text("#!/bin/sh\n")
    (directory / "run").chmod(0o755)
    return directory


def everything_in(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*"))


async def head(repository: Path) -> str:
    return await git(f"--git-dir={repository}", "rev-parse", "HEAD")


async def listed(repository: Path) -> dict[str, str]:
    """The commit's files, with their modes."""
    lines = (await git(f"--git-dir={repository}", "ls-tree", "-r", "HEAD")).splitlines()
    return {line.partition("\t")[2]: line.split()[0] for line in lines}


async def commit_of(files: Path, repository: Path, **environment: str) -> str:
    await make_repository(files, repository, {**ENVIRONMENT, **environment})
    return await head(repository)


async def test_the_repository_has_the_files_and_is_named_by_a_url(files: Path, tmp_path: Path) -> None:
    url = await make_repository(files, tmp_path / "a" / "b.git", ENVIRONMENT)

    assert url == f"file://{tmp_path}/a/b.git"
    assert await listed(tmp_path / "a" / "b.git") == {
        "Dockerfile": "100644",
        "agent/__init__.py": "100644",
        "run": "100755",
    }


async def test_the_same_files_give_the_same_commit_wherever_and_whenever(files: Path, tmp_path: Path) -> None:
    other = template(tmp_path / "elsewhere")
    for path in other.rglob("*"):
        os.utime(path, (0, 0))

    assert await commit_of(files, tmp_path / "a.git") == await commit_of(other, tmp_path / "b.git", TZ="Asia/Tokyo")


async def test_making_it_again_changes_nothing(files: Path, tmp_path: Path) -> None:
    first = await commit_of(files, tmp_path / "a.git")

    assert await commit_of(files, tmp_path / "a.git") == first


async def test_nobodys_git_configuration_changes_the_commit(files: Path, tmp_path: Path) -> None:
    (files / "crlf").write_bytes(b"one\r\ntwo\r\n")
    first = await commit_of(files, tmp_path / "a.git")
    (tmp_path / ".gitconfig").write_text(
        "[core]\nautocrlf = input\nexcludesFile = ~/ignored\n[user]\nname = Me\n[commit]\ngpgSign = true\n"
    )
    (tmp_path / "ignored").write_text("Dockerfile\n")

    assert await commit_of(files, tmp_path / "b.git", HOME=str(tmp_path)) == first


@pytest.mark.parametrize("change", ["content", "mode", "name"])
async def test_other_files_give_another_commit(files: Path, tmp_path: Path, change: str) -> None:
    first = await commit_of(files, tmp_path / "a.git")
    match change:
        case "content":
            (files / "Dockerfile").write_text("FROM other\n")
        case "mode":
            (files / "run").chmod(0o644)
        case "name":
            (files / "run").rename(files / "start")

    assert await commit_of(files, tmp_path / "a.git") != first


async def test_a_file_that_was_removed_is_gone(files: Path, tmp_path: Path) -> None:
    await commit_of(files, tmp_path / "a.git")
    (files / "run").unlink()
    await commit_of(files, tmp_path / "a.git")

    assert "run" not in await listed(tmp_path / "a.git")


async def test_what_python_left_behind_is_left_out(files: Path, tmp_path: Path) -> None:
    first = await commit_of(files, tmp_path / "a.git")
    for folder in (files / "__pycache__", files / "agent" / "__pycache__"):
        folder.mkdir()
        (folder / "x.cpython-311.pyc").write_bytes(b"\0")

    assert await commit_of(files, tmp_path / "a.git") == first


async def test_what_the_template_ignores_is_left_out(files: Path, tmp_path: Path) -> None:
    (files / ".gitignore").write_text("*.log\n")
    (files / "agent" / "x.log").touch()
    await commit_of(files, tmp_path / "a.git")

    assert set(await listed(tmp_path / "a.git")) == {".gitignore", "Dockerfile", "agent/__init__.py", "run"}


async def test_nothing_is_written_among_the_files(files: Path, tmp_path: Path) -> None:
    before = everything_in(files)
    await commit_of(files, tmp_path / "a.git")

    assert everything_in(files) == before


async def test_a_repository_around_the_files_does_not_matter(files: Path, tmp_path: Path) -> None:
    first = await commit_of(files, tmp_path / "a.git")
    await git("init", "--quiet", str(tmp_path))
    (tmp_path / ".gitignore").write_text("files\n")

    assert await commit_of(files, tmp_path / "b.git") == first


async def test_the_bundled_example_has_what_a_template_needs(tmp_path: Path) -> None:
    await commit_of(EXAMPLE, tmp_path / "a.git")

    names = set(await listed(tmp_path / "a.git"))
    assert {"Dockerfile", "config.yaml", "README.md"} <= names
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []


async def test_a_missing_git_is_named(files: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        await make_repository(files, tmp_path / "a.git", {"PATH": str(tmp_path)})

    assert (caught.value.code, caught.value.hint) == ("tool_missing", "install git")


async def test_a_git_that_fails_says_at_what(files: Path, tmp_path: Path) -> None:
    (tmp_path / "a.git").write_text("a file")

    with pytest.raises(UnavailableError, match="git init failed: ") as caught:
        await make_repository(files, tmp_path / "a.git", ENVIRONMENT)

    assert caught.value.code == "example_not_made"
