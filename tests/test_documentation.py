"""The documentation says what the code does."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_readme_has_at_most_a_hundred_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100


def test_every_relative_link_of_the_documentation_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_path_that_architecture_names_exists() -> None:
    named = re.findall(
        r"`((?:api|workspaces|images|git|control_plane|agents|model|cli)/[a-z_]*\.?p?y?|[a-z_]+\.py)`",
        (ROOT / "ARCHITECTURE.md").read_text(),
    )
    missing = [name for name in named if not (ROOT / "src/workspace_server" / name).exists()]
    assert named != []
    assert missing == []
