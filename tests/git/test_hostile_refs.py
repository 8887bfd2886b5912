"""A host that says that HEAD is a branch of a strange name: what git is asked for then, and what comes of it."""

import subprocess
from pathlib import Path

import pytest

from support.git_repository import Repository
from support.git_server import GitServer
from workspace_server.concurrency import Deadline
from workspace_server.errors import WorkspaceServerError
from workspace_server.git import CheckoutStore, CommitMovedError

from .conftest import FILES, template_at

OTHER = "f" * 40
NAMES = [
    "refs/heads/*",
    f"refs/heads/main:refs/commits/{OTHER}",
    f"refs/heads/main:refs/commits/{OTHER} ",
    "^refs/heads/main",
    "-main",
    "--upload-pack=touch${IFS}ran",
    "refs/heads/../../../ran",
    "refs/heads/main\x1b[2J",
    "\udcff",
    "@{0}",
]


def advertisement(repository: Repository, branch: str) -> bytes:
    """A list of refs in protocol v0 with HEAD and its alleged name."""
    tip = repository.tip()
    name = branch.encode("utf-8", "surrogateescape")
    first = b"%s HEAD\0 symref=HEAD:%s object-format=sha1 agent=x\n" % (tip.encode(), name)
    lines = [b"# service=git-upload-pack\n", None, first, f"{tip} refs/heads/main\n".encode(), None]
    return b"".join(b"0000" if line is None else b"%04x%s" % (len(line) + 4, line) for line in lines)


@pytest.mark.parametrize("branch", NAMES, ids=ascii)
async def test_a_strange_name_for_head_gives_the_commit_or_an_error_and_nothing_else(
    host: GitServer, store: CheckoutStore, cache: Path, branch: str
) -> None:
    repository = await host.create("o/strange", FILES)
    repository.faults.answer(
        200, advertisement(repository, branch), "application/x-git-upload-pack-advertisement", where="info/refs"
    )
    repository.faults.answer(500, where="upload-pack", times=1)  # so that the ref is asked for by its name
    template = template_at(repository.url)
    try:
        checkout = await store.checkout(template, repository.tip(), Deadline(60))
    except (WorkspaceServerError, CommitMovedError):
        pass
    else:
        assert {path.name for path in checkout.path.iterdir()} == FILES.keys()
    refs = refs_of(cache / "hermes" / f"git-{template.url.digest}")
    assert all(name in ("refs/tip", f"refs/commits/{target}") for name, target in refs.items()), refs
    assert [path for path in (*cache.rglob("ran"), Path("ran")) if path.exists()] == []  # noqa: ASYNC240


def refs_of(objects: Path) -> dict[str, str]:
    listed = subprocess.run(
        ["git", f"--git-dir={objects}", "for-each-ref", "--format=%(refname) %(objectname)"],
        capture_output=True,
        check=True,
    )
    return dict(line.split() for line in listed.stdout.decode().splitlines())
