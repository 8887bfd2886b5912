"""The catalog of error codes: complete, without leftovers, and printed as its page of the documentation."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from workspace_server import error_codes

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def codes_of(tree: ast.Module) -> set[str]:
    """Every code that a module writes down: as an argument, its default, a name's value, or in an error's form."""
    values: dict[str, ast.expr | None] = {}
    found: list[ast.expr | None] = []
    for node in ast.walk(tree):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=value)
            ):
                values[name] = value
            case ast.keyword(arg="code", value=value):
                found.append(value)
            case ast.Dict(keys=keys, values=of_keys):
                found += [value for key, value in zip(keys, of_keys, strict=True) if _is(key, "code")]
            case ast.Call(func=ast.Attribute(attr="get"), args=[key, default]) if _is(key, "code"):
                found.append(default)
            case ast.FunctionDef(args=arguments):
                names = [argument.arg for argument in arguments.kwonlyargs]
                found.append(dict(zip(names, arguments.kw_defaults, strict=True)).get("code"))
    named = [values.get(each.id) if isinstance(each, ast.Name) else each for each in found]
    return {each.value for each in named if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def _is(key: ast.expr | None, name: str) -> bool:
    return isinstance(key, ast.Constant) and key.value == name


def test_every_error_code_of_the_program_is_in_the_catalog_and_no_other() -> None:
    used = set[str]().union(*(codes_of(ast.parse(path.read_text())) for path in SOURCES))
    assert used == set(error_codes.codes())


def test_a_code_is_in_the_catalog_once() -> None:
    codes = error_codes.codes()
    assert [code for code in codes if codes.count(code) > 1] == []


def test_the_page_of_error_codes_is_what_the_catalog_prints() -> None:
    page = ROOT / "docs/reference/errors.md"
    assert page.read_text() == error_codes.page(), (
        "run: python -m workspace_server.error_codes > docs/reference/errors.md"
    )


def test_the_command_prints_the_page() -> None:
    printed = subprocess.run([sys.executable, "-m", error_codes.__name__], capture_output=True, check=True, text=True)
    assert printed.stdout == error_codes.page()


@pytest.mark.parametrize(
    "written",
    [
        'raise E("x", code="a_code")',
        'A: Final = "a_code"\nraise E("x", code=A)',
        'A = "a_code"\nraise E("x", code=A)',
        'def f(message, *, code: str = "a_code"): ...',
        'answer = {"error": "x", "code": "a_code"}',
        'E("x", code=answer.get("code", "a_code"))',
    ],
)
def test_a_code_is_found_however_it_is_written(written: str) -> None:
    assert codes_of(ast.parse(written)) == {"a_code"}


def test_every_row_of_the_page_says_whose_fault_it_is_and_what_to_do() -> None:
    rows = [row for row in error_codes.page().splitlines() if row.startswith("| `")]
    assert [row for row in rows if not re.fullmatch(r"\| `[a-z_]+` \| [^|]+ \| [^|]+ \|", row)] == []
    assert len(rows) == len(error_codes.codes())
