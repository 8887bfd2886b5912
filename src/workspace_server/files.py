"""Files that are private, and whole or absent."""

import os
from pathlib import Path


def write_private(file: Path, text: str) -> None:
    """Write ``file`` whole or not at all, with mode 0600, and replace what was there."""
    staged = file.with_suffix(".new")
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    staged.replace(file)
