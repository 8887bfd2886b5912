"""The watch sees what a process starts, and nothing else."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.process_watch import ProcessWatch, watched


@pytest.fixture
def family(tmp_path: Path) -> Iterator[int]:
    """A shell whose child has a child, each with an argument and a variable of its own."""
    go = tmp_path / "go"
    os.mkfifo(go)
    inner = f"INNER=1 sh -c 'read line < {go}; exit 0' inner-argument; exit 0"
    with subprocess.Popen(
        ["sh", "-c", f'OUTER=1 sh -c "{inner}" outer-argument; exit 0'], start_new_session=True
    ) as it:
        yield it.pid
        go.write_text("\n")


def until_seen(watch: ProcessWatch, argument: str) -> None:
    while not any(argument in seen.argv for seen in watch.seen):
        watch.look()


def test_children_and_their_children_are_seen_with_arguments_and_environment(family: int) -> None:
    watch = ProcessWatch(family)
    until_seen(watch, "inner-argument")
    variables = {seen.argv[-1]: {"OUTER", "INNER"} & seen.variables.keys() for seen in watch.seen}
    assert variables["outer-argument"] == {"OUTER"}
    assert variables["inner-argument"] == {"OUTER", "INNER"}


def test_a_process_is_seen_with_its_group(family: int) -> None:
    watch = ProcessWatch(family)
    until_seen(watch, "inner-argument")
    assert {seen.group for seen in watch.seen} == {family}


def test_neither_the_process_itself_nor_others_are_seen(family: int) -> None:
    watch = ProcessWatch(family)
    until_seen(watch, "inner-argument")
    assert not {family, os.getpid()} & {seen.pid for seen in watch.seen}


def test_a_program_in_the_place_of_another_is_seen_too() -> None:
    with watched(os.getpid()) as watch:
        command = "read line; exec env LATER=1 sh -c 'read line' second"
        with subprocess.Popen(["sh", "-c", command, "first"], stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            while not any("first" in seen.argv for seen in watch.seen):
                pass
            process.stdin.write(b"\n")
            process.stdin.flush()
            while not any("second" in seen.argv for seen in watch.seen):
                pass
            process.stdin.write(b"\n")
    of_it = [seen for seen in watch.seen if seen.pid == process.pid]
    assert {("LATER" in seen.variables) for seen in of_it if seen.argv[-1] == "second"} == {True}
