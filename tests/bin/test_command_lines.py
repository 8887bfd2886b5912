"""What each script says of itself, and how it takes a mistyped command."""

import subprocess
from collections.abc import Callable

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

FLAGS = {
    "bin/up": ["--check", "--clean", "--port", "--no-install", "--help"],
    "bin/test": ["--fast", "--checks", "--no-install", "--help"],
    "bin/base-image": ["--remove", "--no-install", "--help"],
}


@pytest.mark.parametrize("script", FLAGS)
def test_help_goes_to_stdout_and_exits_0(run: Run, script: str) -> None:
    result = run(script, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"Usage: {script} ")


@pytest.mark.parametrize(("script", "flag"), [(script, flag) for script, flags in FLAGS.items() for flag in flags])
def test_help_names_every_flag(run: Run, script: str, flag: str) -> None:
    assert flag in run(script, "--help").stdout


@pytest.mark.parametrize("script", ["bin/up", "bin/base-image"])
def test_an_unknown_argument_is_named_and_exits_2(run: Run, script: str) -> None:
    result = run(script, "--chekc")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"{script}: unknown argument --chekc (see {script} --help)\n"


@pytest.mark.parametrize("port", [["--port"], ["--port", "http"]])
def test_up_refuses_a_port_that_is_no_number(run: Run, port: list[str]) -> None:
    result = run("bin/up", *port)
    assert (result.returncode, result.stderr) == (2, "bin/up: --port needs a number (see bin/up --help)\n")


def test_up_refuses_check_together_with_clean(run: Run) -> None:
    result = run("bin/up", "--check", "--clean")
    assert (result.returncode, result.stderr) == (2, "bin/up: only one of --check and --clean (see bin/up --help)\n")
