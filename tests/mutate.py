"""Breaks one line of code for each promise, and sees that the test which protects it fails.

``python -m tests.mutate`` reads ``tests/mutations.toml``, tries every entry in this checkout (which must have no
uncommitted changes, and is left as it was), and writes ``tests/MUTATIONS.md``. With arguments it tries the entries
whose promise or test contains one of them, and writes nothing. Exit code 1: a test did not notice.
"""

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIST = ROOT / "tests/mutations.toml"
PAGE = ROOT / "tests/MUTATIONS.md"

HEAD = """# Broken lines, and the tests that notice

One line of code per promise, broken, and the test that then fails. Made from `mutations.toml` by
`.venv/bin/python -m tests.mutate`, which tries every one of them.

| promise | broken | test that fails |
|---|---|---|
"""
_TESTS_FAILED = 1  # pytest's exit code; others mean that it could not even run


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A promise, the line that keeps it, what that line becomes, and the test that notices."""

    promise: str
    file: str
    old: str
    new: str
    test: str

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The line is broken inside the block. Raises ValueError unless it is there exactly once."""
        path = ROOT / self.file
        text = path.read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} has {text.count(self.old)} times: {self.old}")
        path.write_text(text.replace(self.old, self.new))
        try:
            yield
        finally:
            path.write_text(text)

    def is_noticed(self) -> bool:
        """Whether the test fails with the line broken."""
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "", "-p", "no:cacheprovider", self.test]
        with self.applied():
            return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == _TESTS_FAILED

    @property
    def row(self) -> str:
        """Its line in the page."""
        lines = " ".join(f"`{line.strip()}`" for line in self.old.strip().splitlines()).replace("|", "\\|")
        return f"| {self.promise} | `{self.file.removeprefix('src/workspace_server/')}`: {lines} | `{self.test}` |"


def main() -> int:
    """Try them, say how it went, and write the page when all were tried and all were noticed."""
    if subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "src"], cwd=ROOT, check=False).returncode:
        print("there are uncommitted changes in src/")
        return 2
    every = [Mutation(**fields) for fields in tomllib.loads(LIST.read_text())["mutation"]]
    words = sys.argv[1:]
    chosen = [each for each in every if not words or any(word in each.promise + each.test for word in words)]
    missed = []
    for mutation in chosen:
        noticed = mutation.is_noticed()
        print(f"{'✓' if noticed else '✗ NOT NOTICED'} {mutation.promise}", flush=True)
        missed += [] if noticed else [mutation]
    if not words and not missed:
        PAGE.write_text(HEAD + "".join(f"{mutation.row}\n" for mutation in every))
    print(f"{len(chosen) - len(missed)} of {len(chosen)} noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
