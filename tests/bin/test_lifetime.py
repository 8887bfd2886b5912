"""What a script does when it ends, or is told to."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., subprocess.CompletedProcess[str]]

SAYS_WHEN_IT_ENDS = """
import signal, sys

def end(*_):
    print("command", flush=True)
    sys.exit()

signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
signal.pause()
"""


def test_cleanups_run_from_the_last_to_the_first(shell: Run) -> None:
    assert shell("at_exit echo first; at_exit echo second").stdout == "second\nfirst\n"


def test_a_cleanup_that_fails_does_not_keep_the_others_from_running(shell: Run) -> None:
    assert shell("at_exit echo first; at_exit false").stdout == "first\n"


def test_cleanups_keep_the_exit_code(shell: Run) -> None:
    assert shell("at_exit true; exit 7").returncode == 7


def test_a_supervised_command_gives_its_exit_code(shell: Run) -> None:
    assert shell("supervise TERM bash -c 'exit 7'").returncode == 7


def test_a_term_signal_ends_the_supervised_command_first(project: Path) -> None:
    lines = '. bin/lib/load.sh; at_exit echo script; supervise TERM .venv/bin/python -c "$PROGRAM"'
    with subprocess.Popen(
        ["bash", "-c", lines],
        cwd=project,
        env={**os.environ, "PROGRAM": SAYS_WHEN_IT_ENDS},
        stdout=subprocess.PIPE,
        text=True,
    ) as script:
        assert script.stdout is not None
        assert script.stdout.readline() == "ready\n"
        script.send_signal(signal.SIGTERM)
        assert script.communicate(timeout=60)[0] == "command\nscript\n"
    assert script.returncode == 128 + signal.SIGTERM


def test_a_tree_is_removed_whole(shell: Run, project: Path) -> None:
    (project / "tree" / "below").mkdir(parents=True)
    shell('remove_tree "$PWD/tree"')
    assert not (project / "tree").exists()
