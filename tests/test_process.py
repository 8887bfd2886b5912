"""What ``run`` gives a program, and what it brings back."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from workspace_server.concurrency import Deadline
from workspace_server.errors import UnavailableError
from workspace_server.process import Bounds, Completed, run

PATH = {"PATH": os.defpath}
PYTHON = [sys.executable, "-I", "-S", "-c"]
MORE_THAN_ANY_BUFFER_HOLDS = 8 * 1024 * 1024


async def shell(script: str, *arguments: str, **options: object) -> Completed:
    options.setdefault("env", PATH)
    return await run(["sh", "-c", script, "sh", *arguments], deadline=Deadline(30), **options)


@pytest.mark.parametrize("code", [0, 1, 3, 127])
async def test_the_exit_code_is_the_programs(code: int) -> None:
    assert (await shell(f"exit {code}")).returncode == code


@pytest.mark.parametrize("code", [0, 1, 3, 127])
async def test_the_exit_code_of_a_program_that_dies_with_its_children_is_the_programs(code: int) -> None:
    done = await shell(f"echo out; echo err >&2; exit {code}", with_children=True)

    assert (done.returncode, done.stdout, done.stderr) == (code, b"out\n", b"err\n")


async def test_a_program_that_dies_with_its_children_gets_its_arguments_as_they_are() -> None:
    arguments = ("a b", "$(x)", "", "*", 'q"q', "-n")

    assert (await shell(r'printf "%s\n" "$@"', *arguments, with_children=True)).stdout.decode().splitlines() == [
        *arguments
    ]


async def test_a_signals_exit_code_is_its_negative_number() -> None:
    assert (await shell("kill -TERM $$")).returncode == -15


@pytest.mark.parametrize(("code", "ok"), [(0, True), (1, False)])
async def test_only_zero_is_ok(code: int, *, ok: bool) -> None:
    assert (await shell(f"exit {code}")).ok == ok


async def test_the_two_outputs_are_kept_apart() -> None:
    done = await shell("echo out; echo err >&2")

    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


async def test_what_ran_is_what_was_asked_for() -> None:
    assert (await run(("sh", "-c", "true"), env=PATH, deadline=Deadline(30))).argv == ("sh", "-c", "true")


async def test_both_pipes_are_drained_beyond_what_any_buffer_holds() -> None:
    script = (
        f"import os; [os.write(n, b'x' * 65536) for _ in range({MORE_THAN_ANY_BUFFER_HOLDS // 65536}) for n in (1, 2)]"
    )
    done = await run([*PYTHON, script], env={}, deadline=Deadline(30))

    assert (len(done.stdout), len(done.stderr)) == (MORE_THAN_ANY_BUFFER_HOLDS, MORE_THAN_ANY_BUFFER_HOLDS)


async def test_an_endless_output_is_drained_and_its_beginning_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workspace_server.process._OUTPUT_LIMIT", 100_000)
    done = await shell("head -c 1000000 /dev/zero; echo end >&2")

    assert (len(done.stdout), done.stderr) == (100_000, b"end\n")


BOUNDS = Bounds(file_bytes=100_000, memory_bytes=200_000_000)


async def test_a_bounded_program_is_ended_when_it_writes_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workspace_server.process._OUTPUT_LIMIT", 100_000)
    done = await shell("yes", bounds=BOUNDS)

    assert (len(done.stdout), done.cut, done.ok) == (100_000, True, False)


async def test_a_bounded_program_may_write_all_that_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workspace_server.process._OUTPUT_LIMIT", 100_000)
    done = await shell("head -c 100000 /dev/zero", bounds=BOUNDS)

    assert (len(done.stdout), done.cut, done.ok) == (100_000, False, True)


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="nothing here can arrange it: util-linux is missing")
async def test_a_bounded_program_and_its_children_write_no_larger_file(tmp_path: Path) -> None:
    done = await shell("head -c 200000 /dev/zero > a; head -c 100000 /dev/zero > b", cwd=tmp_path, bounds=BOUNDS)

    assert (done.ok, [(tmp_path / name).stat().st_size for name in "ab"]) == (True, [100_000, 100_000])


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="nothing here can arrange it: util-linux is missing")
@pytest.mark.parametrize(("megabytes", "ok"), [(50, True), (300, False)])
async def test_a_bounded_program_gets_no_more_memory(megabytes: int, *, ok: bool) -> None:
    done = await run([*PYTHON, f"bytearray({megabytes}_000_000)"], env={}, deadline=Deadline(30), bounds=BOUNDS)

    assert done.ok == ok


async def test_stdin_is_closed() -> None:
    assert (await shell("cat; echo the end")).stdout == b"the end\n"


async def test_input_reaches_the_program_whole() -> None:
    data = os.urandom(MORE_THAN_ANY_BUFFER_HOLDS)
    done = await run(["cat"], env=PATH, deadline=Deadline(30), input=data)

    assert done.stdout == data


async def test_a_program_may_stop_reading_its_input() -> None:
    assert (await shell("exit 3", input=b"x" * MORE_THAN_ANY_BUFFER_HOLDS)).returncode == 3


@pytest.mark.parametrize("with_children", [False, True])
async def test_a_program_sees_exactly_the_environment_it_is_given(
    monkeypatch: pytest.MonkeyPatch, *, with_children: bool
) -> None:
    monkeypatch.setenv("ADMIN_TOKEN", "hush")
    done = await run(["env"], env={**PATH, "A": "1"}, deadline=Deadline(30), with_children=with_children)

    seen = [line for line in done.stdout.decode().split() if not line.startswith("_=")]  # bash, where it is sh
    assert sorted(seen) == ["A=1", f"PATH={os.defpath}"]


async def test_a_program_is_found_on_the_path_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("#!/bin/sh\necho found\n")
    (tmp_path / "mine").chmod(0o755)

    assert (await run(["mine"], env={"PATH": str(tmp_path)}, deadline=Deadline(30))).stdout == b"found\n"


async def test_a_program_runs_where_it_is_told_to(tmp_path: Path) -> None:
    assert (await shell("pwd -P", cwd=tmp_path)).stdout == f"{tmp_path}\n".encode()


@pytest.mark.parametrize("umask", [0o022, 0o077])
async def test_a_programs_umask_is_what_it_is_told(umask: int) -> None:
    assert int((await shell("umask", umask=umask)).stdout, 8) == umask


async def test_a_file_descriptor_is_passed_when_asked_for() -> None:
    reader, writer = os.pipe()
    try:
        await shell('echo through >"/dev/fd/$1"', str(writer), pass_fds=[writer])

        assert os.read(reader, 100) == b"through\n"
    finally:
        os.close(reader)
        os.close(writer)


async def test_no_other_file_descriptor_is_passed() -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)  # noqa: FBT003 - the standard library's
    try:
        assert not (await shell('test -e "/dev/fd/$1"', str(writer))).ok
    finally:
        os.close(reader)
        os.close(writer)


async def test_a_missing_program_is_named_with_what_to_do() -> None:
    with pytest.raises(UnavailableError) as caught:
        await run(["no-such-program", "x"], env=PATH, deadline=Deadline(30))

    assert caught.value.as_dict() == {
        "error": "the program no-such-program was not found",
        "code": "tool_missing",
        "hint": "install no-such-program",
    }


async def test_every_line_of_both_outputs_is_told_and_not_kept() -> None:
    lines: list[bytes] = []
    done = await shell("echo one; echo two >&2; echo; printf last", on_line=lines.append)

    assert (sorted(lines), done.stdout, done.stderr) == ([b"", b"last", b"one", b"two"], b"", b"")


async def test_a_line_is_told_as_soon_as_it_is_there() -> None:
    reader, writer = os.pipe()
    lines: list[bytes] = []

    def answer(line: bytes) -> None:
        lines.append(line)
        os.write(writer, b"go on\n")

    try:
        await shell(
            'echo question; read answer <"/dev/fd/$1"; echo "$answer"', str(reader), pass_fds=[reader], on_line=answer
        )

        assert lines == [b"question", b"go on"]
    finally:
        os.close(reader)
        os.close(writer)


async def test_a_line_longer_than_any_buffer_comes_in_parts() -> None:
    parts: list[bytes] = []
    await shell("head -c 3000000 /dev/zero; echo; echo next", on_line=parts.append)

    assert (b"".join(parts), parts[-1], len(parts) > 2) == (bytes(3_000_000) + b"next", b"next", True)


async def test_a_complaint_is_the_last_twenty_lines() -> None:
    done = await shell("for n in $(seq 30); do echo line $n >&2; done; exit 1")

    assert done.complaint == "\n".join(f"line {n}" for n in range(11, 31))


async def test_a_complaint_that_is_no_text_is_shown_nevertheless() -> None:
    assert (await shell(r"printf 'a\377b' >&2")).complaint == "a\ufffdb"


async def test_many_programs_run_side_by_side() -> None:
    done = await asyncio.gather(*(shell(f"echo {n}") for n in range(20)))

    assert [int(each.stdout) for each in done] == list(range(20))
