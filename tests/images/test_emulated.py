"""A build whose step really runs under an emulator, and the same build where the kernel knows none.

The machine's kernel is told of the emulator while the tests run, for an architecture that no other test asks for.
"""

import os
import secrets
import struct
import subprocess
from collections.abc import Iterator

import pytest

from engine.test_emulation import MAGIC, USUAL_MASK
from support.git_objects import executable
from support.git_repository import Repository
from workspace_server.engine import ImageBuilder
from workspace_server.engine.emulation import BINFMT_MISC
from workspace_server.errors import SourceError, TemplateError
from workspace_server.images import BuildRecord
from workspace_server.model.build import BuilderKind, Execution
from workspace_server.model.container import ImageInfo
from workspace_server.runtimes import Template

from .conftest import NO_IMAGE, Heard, Server, ServerOf
from .making import identity

pytestmark = [pytest.mark.emulation, pytest.mark.engine]

MACHINE = "riscv64"
FOREIGN = f"linux/{MACHINE}"


def program(exit_code: int) -> bytes:
    """A program for it that ends at once: ``li a0, exit_code; li a7, 93; ecall``."""
    code = struct.pack("<3I", exit_code << 20 | 0x513, 93 << 20 | 0x893, 0x73)
    base, headers = 0x10000, 64 + 56
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, 243, 1, base + headers, 64, 0, 4, 64, 56, 1, 0, 0, 0)
    size = headers + len(code)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return ident + header + segment + code


@pytest.fixture
def _kernel() -> Iterator[None]:
    """The kernel shows what it hands to interpreters."""
    if (BINFMT_MISC / "register").exists():
        yield
        return
    subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT_MISC)], check=True)
    yield
    subprocess.run(["umount", str(BINFMT_MISC)], check=True)


@pytest.fixture
def _emulator(_kernel: None) -> Iterator[None]:
    """The kernel hands programs for it to an emulator."""
    magic, mask = (escaped(text) for text in (MAGIC[MACHINE], USUAL_MASK))
    file = os.environ["MOLECULE_TEST_EMULATOR"]
    (BINFMT_MISC / "register").write_text(f":test-{MACHINE}:M::{magic}:{mask}:{file}:F")
    yield
    (BINFMT_MISC / f"test-{MACHINE}").write_text("-1")


def escaped(text: str) -> str:
    return "".join(f"\\x{text[at : at + 2]}" for at in range(0, len(text), 2))


@pytest.fixture
def server(server_of: ServerOf, builder: ImageBuilder) -> Server:
    if builder.kind is BuilderKind.CLASSIC:
        pytest.skip("the classic builder builds for its own platform only")
    return server_of()


async def built(server: Server, template: Template, repository: Repository, exit_code: int) -> ImageInfo:
    """Build it with a step that runs a program, which no cache has seen."""
    dockerfile = f'FROM scratch\nCOPY program /program\nENV ONCE={secrets.token_hex(8)}\nRUN ["/program"]\n'
    await repository.commit({"Dockerfile": dockerfile, "program": executable(program(exit_code))})
    return await server.builds.build(identity(template, repository.tip(), FOREIGN), NO_IMAGE, Heard())


def record_of(server: Server) -> BuildRecord:
    (record,) = server.book.newest()
    return record


@pytest.mark.usefixtures("_emulator")
async def test_a_foreign_step_runs_where_the_kernel_has_an_emulator(
    server: Server, template: Template, repository: Repository
) -> None:
    assert (await built(server, template, repository, 0)).platform == FOREIGN
    assert record_of(server).execution is Execution.EMULATED


@pytest.mark.usefixtures("_emulator")
async def test_what_a_foreign_step_ends_with_is_the_builds_word(
    server: Server, template: Template, repository: Repository
) -> None:
    with pytest.raises(TemplateError, match="exit code: 7"):
        await built(server, template, repository, 7)


@pytest.mark.usefixtures("_kernel")
async def test_without_an_emulator_nothing_is_built(server: Server, template: Template, repository: Repository) -> None:
    with pytest.raises(SourceError, match=f"cannot run programs of {FOREIGN}") as caught:
        await built(server, template, repository, 0)

    assert caught.value.code == "platform_unsupported"
