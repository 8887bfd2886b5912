"""The documentation says what the code does."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def literal_codes() -> set[str]:
    found = {"internal"}  # the one that no exception carries
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        constants = {
            node.targets[0].id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "code":
                if isinstance(node.value, ast.Constant):
                    found.add(node.value.value)
                elif isinstance(node.value, ast.Name) and node.value.id in constants:
                    found.add(constants[node.value.id])
            if isinstance(node, ast.FunctionDef):
                names = [argument.arg for argument in node.args.kwonlyargs]
                defaults = dict(zip(names, node.args.kw_defaults, strict=True))
                if isinstance(default := defaults.get("code"), ast.Constant):
                    found.add(default.value)
    return found


def documented_codes() -> set[str]:
    rows = [line for line in (ROOT / "docs/reference/errors.md").read_text().splitlines() if line.startswith("| `")]
    return {code for row in rows for code in re.findall(r"`([a-z_]+)`", row.split("|")[1])}


def test_every_error_code_of_the_program_is_documented_and_no_other() -> None:
    assert documented_codes() == literal_codes()


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
        r"`((?:api|workspaces|images|git|agents|model|cli)/[a-z_]*\.?p?y?|[a-z]+\.py)`",
        (ROOT / "ARCHITECTURE.md").read_text(),
    )
    missing = [name for name in named if not (ROOT / "src/workspace_server" / name).exists()]
    assert named != []
    assert missing == []
