"""Some things are done in one place only. Import directions are checked by import-linter; this looks at calls."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import workspace_server

SOURCE = Path(workspace_server.__file__).parent

ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv", "expandvars"}
PROCESSES = {
    "create_subprocess_exec",
    "create_subprocess_shell",
    "subprocess_exec",
    "subprocess_shell",
    "subprocess",
    "multiprocessing",
    "ProcessPoolExecutor",
    "Popen",
    "popen",
    "system",
    "pty",
    "fork",
    "forkpty",
    "posix_spawn",
    "posix_spawnp",
    *(f"{family}{variant}" for family in ("spawn", "exec") for variant in ("l", "le", "lp", "lpe", "v", "ve", "vp")),
}
TASKS = {"create_task", "ensure_future", "TaskGroup", "create_task_group", "run_coroutine_threadsafe"}
BROAD = {"Exception", "BaseException"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield path.relative_to(SOURCE).as_posix(), ast.parse(path.read_text())


def uses(tree: ast.AST, names: set[str]) -> bool:
    """Whether any of ``names`` is imported, or reached through a module or an object."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) if name in names:
                return True
            case ast.Import(names=aliases) if any(names & set(alias.name.split(".")) for alias in aliases):
                return True
            case ast.ImportFrom(module=module, names=aliases):
                if names & {*(module or "").split("."), *(alias.name for alias in aliases)}:
                    return True
            case _:
                pass
    return False


def broad_handlers(tree: ast.AST) -> Iterator[ast.ExceptHandler]:
    """The ``except`` clauses that catch everything and do not raise it again."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            caught = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)} if node.type else BROAD
            raised = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
            if caught & BROAD and not raised:
                yield node


def users_of(names: set[str]) -> set[str]:
    return {path for path, tree in modules() if uses(tree, names)}


def test_only_settings_reads_the_environment() -> None:
    assert users_of(ENVIRONMENT) == {"settings.py"}


def test_only_process_starts_processes() -> None:
    assert users_of(PROCESSES) == {"process.py"}


def test_only_concurrency_creates_tasks() -> None:
    assert users_of(TASKS) == {"concurrency.py"}


def test_only_concurrency_catches_everything() -> None:
    assert {path for path, tree in modules() if list(broad_handlers(tree))} == {"concurrency.py"}


@pytest.mark.parametrize(
    ("names", "source"),
    [
        (ENVIRONMENT, "import os\nos.environ['HOME']"),
        (ENVIRONMENT, "import os as system_calls\nsystem_calls.getenv('HOME')"),
        (ENVIRONMENT, "from os import environ as e"),
        (PROCESSES, "import subprocess"),
        (PROCESSES, "from asyncio.subprocess import PIPE"),
        (PROCESSES, "import asyncio\nasyncio.create_subprocess_exec('git')"),
        (PROCESSES, "import os\nos.system('git')"),
        (TASKS, "import asyncio\nasyncio.get_running_loop().create_task(work())"),
        (TASKS, "from asyncio import TaskGroup"),
    ],
)
def test_a_planted_use_is_found(names: set[str], source: str) -> None:
    assert uses(ast.parse(source), names)


@pytest.mark.parametrize("clause", ["except:", "except Exception:", "except (OSError, BaseException) as error:"])
def test_a_planted_broad_except_is_found(clause: str) -> None:
    planted = ast.parse(f"try:\n    work()\n{clause}\n    pass")

    assert len(list(broad_handlers(planted))) == 1
