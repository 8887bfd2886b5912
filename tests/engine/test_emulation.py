"""How an engine runs the programs of a platform, by its kernel's own word and by buildx's."""

import subprocess
import sys
from pathlib import Path

import pytest

from workspace_server.engine.emulation import foreign_execution, is_native, listed_execution, read_handlers
from workspace_server.model.build import Execution

AMD64, ARM64 = "linux/amd64", "linux/arm64"

# What qemu's package registers: the beginning of a program, and which of its bits count.
MAGIC = {
    "arm": f"7f454c46010101{'00' * 9}02002800",
    "arm64": f"7f454c46020101{'00' * 9}0200b700",
    "ppc64le": f"7f454c46020101{'00' * 9}02001500",
    "riscv64": f"7f454c46020101{'00' * 9}0200f300",
    "s390x": f"7f454c46020201{'00' * 9}00020016",
}
MASK = {"ppc64le": "ffffffffffffff00fffffffffffffffffeffff00", "s390x": "ffffffffffffff00fffffffffffffffffffeffff"}
USUAL_MASK = "ffffffffffffff00fffffffffffffffffeffffff"


def handler(machine: str, *, flags: str = "POCF", state: str = "enabled") -> str:
    """A handler's file, as a kernel shows it."""
    return (
        f"{state}\ninterpreter /usr/libexec/qemu-binfmt/{machine}-binfmt-P\nflags: {flags}\noffset 0\n"
        f"magic {MAGIC[machine]}\nmask {MASK.get(machine, USUAL_MASK)}\n"
    )


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """A kernel that knows handlers for Python and Java, as many do, and for no other architecture."""
    (tmp_path / "status").write_text("enabled\n")
    (tmp_path / "register").touch()
    (tmp_path / "python3").write_text("enabled\ninterpreter /usr/bin/python3\nflags: \noffset 0\nmagic a70d0d0a\n")
    (tmp_path / "jar").write_text("enabled\ninterpreter /usr/bin/jexec\nflags: \nextension .jar\n")
    return tmp_path


def execution(kernel: Path, platform: str, engine: str = AMD64) -> Execution:
    return foreign_execution(platform, engine, handlers=read_handlers(kernel))


@pytest.mark.parametrize(
    ("platform", "engine"),
    [
        (AMD64, AMD64),
        ("linux/amd64/v2", AMD64),
        ("linux/arm64/v8", ARM64),
        ("linux/386", AMD64),
        ("linux/arm/v7", "linux/arm"),
    ],
)
def test_an_engine_runs_its_own_architecture_natively(platform: str, engine: str) -> None:
    assert is_native(platform, engine)


@pytest.mark.parametrize(
    ("platform", "engine"), [(ARM64, AMD64), (AMD64, ARM64), (AMD64, "linux/386"), ("windows/amd64", AMD64)]
)
def test_other_platforms_are_foreign(platform: str, engine: str) -> None:
    assert not is_native(platform, engine)


@pytest.mark.parametrize("machine", MAGIC)
def test_an_architecture_with_a_handler_is_emulated(kernel: Path, machine: str) -> None:
    (kernel / f"qemu-{machine}").write_text(handler(machine))

    assert execution(kernel, f"linux/{machine}") is Execution.EMULATED


@pytest.mark.parametrize("machine", MAGIC)
def test_a_handler_is_for_its_own_architecture_only(kernel: Path, machine: str) -> None:
    for other in MAGIC.keys() - {machine}:
        (kernel / f"qemu-{other}").write_text(handler(other))

    assert execution(kernel, f"linux/{machine}") is Execution.IMPOSSIBLE


def test_without_a_handler_an_architecture_cannot_run(kernel: Path) -> None:
    assert execution(kernel, ARM64) is Execution.IMPOSSIBLE


def test_a_handler_whose_interpreter_is_not_held_open_is_none_for_containers(kernel: Path) -> None:
    (kernel / "qemu-arm64").write_text(handler("arm64", flags="POC"))

    assert execution(kernel, ARM64) is Execution.IMPOSSIBLE


def test_a_handler_that_is_switched_off_is_none(kernel: Path) -> None:
    (kernel / "qemu-arm64").write_text(handler("arm64", state="disabled"))

    assert execution(kernel, ARM64) is Execution.IMPOSSIBLE


def test_where_all_handlers_are_switched_off_there_are_none(kernel: Path) -> None:
    (kernel / "qemu-arm64").write_text(handler("arm64"))
    (kernel / "status").write_text("disabled\n")

    assert execution(kernel, ARM64) is Execution.IMPOSSIBLE


def test_a_kernel_without_the_feature_has_no_handlers(tmp_path: Path) -> None:
    assert execution(tmp_path / "none", ARM64) is Execution.IMPOSSIBLE


def test_a_kernel_that_does_not_show_its_handlers_says_nothing(tmp_path: Path) -> None:
    """The folder is there and empty where nobody mounted it: handlers may have been registered nevertheless."""
    assert execution(tmp_path, ARM64) is Execution.UNKNOWN


def test_some_64_bit_arm_processors_run_32_bit_programs_and_no_handler_tells(kernel: Path) -> None:
    assert execution(kernel, "linux/arm/v7", ARM64) is Execution.UNKNOWN


def test_an_architecture_that_is_not_in_the_table_is_unknown(kernel: Path) -> None:
    assert execution(kernel, "linux/vax") is Execution.UNKNOWN


def test_no_engine_runs_another_system(kernel: Path) -> None:
    assert execution(kernel, "windows/amd64") is Execution.IMPOSSIBLE


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        (ARM64, Execution.EMULATED),
        ("linux/arm64/v8", Execution.EMULATED),
        ("linux/arm/v7", Execution.EMULATED),
        ("linux/s390x", Execution.IMPOSSIBLE),
    ],
)
def test_buildx_names_what_an_engine_runs(platform: str, expected: Execution) -> None:
    assert listed_execution(platform, [AMD64, "linux/386", ARM64, "linux/arm/v7", "linux/arm/v6"]) is expected


def test_where_buildx_is_not_here_nothing_is_named() -> None:
    assert listed_execution(ARM64, None) is Execution.UNKNOWN


IN_A_KERNEL_OF_ITS_OWN = """
import sys
from pathlib import Path
from workspace_server.engine.emulation import BINFMT_MISC, foreign_execution, read_handlers

magic, mask = ("".join(f"\\\\x{text[at:at + 2]}" for at in range(0, len(text), 2)) for text in sys.argv[1:])
def found():
    return foreign_execution("linux/arm64", "linux/amd64", handlers=read_handlers(BINFMT_MISC)).value
before = found()
Path(BINFMT_MISC, "register").write_text(f":qemu-aarch64:M::{magic}:{mask}:/bin/true:F")
print(before, found())
"""


def test_a_real_kernel_is_read_right() -> None:
    """In a user namespace, which since Linux 6.7 may have handlers of its own: nobody else sees them."""
    mount = "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc"
    namespace = ["unshare", "--user", "--mount", "--map-root-user", "sh", "-c"]
    if subprocess.run([*namespace, mount], check=False, capture_output=True).returncode:
        pytest.skip("this kernel has no private handlers: Linux 6.7 and user namespaces are needed")
    command = [*namespace, f'{mount} && exec "$@"', "sh", sys.executable, "-c", IN_A_KERNEL_OF_ITS_OWN]
    done = subprocess.run([*command, MAGIC["arm64"], USUAL_MASK], check=True, capture_output=True, text=True)

    assert done.stdout.split() == ["impossible", "emulated"]
