"""Whether an engine can run the programs of a platform: by itself, through an emulator, or not at all.

A Linux kernel knows exactly: it has one file for each kind of program that it hands to an interpreter
(``/proc/sys/fs/binfmt_misc``). Of an engine with another kernel only buildx can be asked. It finds a new emulator at
once, and still lists one that was removed until the engine starts again.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from workspace_server.model.build import Execution

BINFMT_MISC = Path("/proc/sys/fs/binfmt_misc")

# An ELF file's class (1: 32 bit, 2: 64 bit), byte order and machine, by the architecture's name in images.
_MACHINES: dict[str, tuple[int, str, int]] = {
    "386": (1, "little", 3),
    "amd64": (2, "little", 62),
    "arm": (1, "little", 40),
    "arm64": (2, "little", 183),
    "loong64": (2, "little", 258),
    "mips64le": (2, "little", 8),
    "ppc64le": (2, "little", 21),
    "riscv64": (2, "little", 243),
    "s390x": (2, "big", 22),
}
_NATIVE_TOO = {("amd64", "386")}
_MAYBE_NATIVE = {("arm64", "arm")}  # some processors can, and no handler tells

_PROGRAM = 2  # an ELF file's type
_FIELDS = re.compile(r"^(interpreter|flags:|offset|magic|mask) ?(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """Files that the kernel hands to an interpreter: those with ``magic`` at ``offset``, as far as ``mask`` says.

    ``fixed``: the kernel holds the interpreter open, so that it also runs where its file is not: in a container.
    """

    magic: bytes
    mask: bytes
    offset: int
    fixed: bool

    def takes(self, header: bytes) -> bool:
        """Whether a file with this beginning is handed over."""
        part = header[self.offset : self.offset + len(self.magic)]
        matching = all((a ^ b) & m == 0 for a, b, m in zip(part, self.magic, self.mask, strict=False))
        return len(part) == len(self.magic) and matching


def read_handlers(directory: Path) -> Sequence[Handler] | None:
    """The kernel's handlers that are switched on; None where it does not show them to this process."""
    if not directory.exists():
        return ()  # a kernel without the feature
    try:
        if (directory / "status").read_text().strip() != "enabled":
            return ()
        files = [path for path in directory.iterdir() if path.name not in ("status", "register")]
        found = [parse_handler(path.read_text()) for path in files]
    except OSError:  # not mounted here, or not ours to read
        return None
    return [handler for handler in found if handler is not None]


def parse_handler(text: str) -> Handler | None:
    """One handler's file; None for one that is switched off, or goes by a file name's end."""
    fields = {name.rstrip(":"): value.strip() for name, value in _FIELDS.findall(text)}
    if not text.startswith("enabled") or "magic" not in fields:
        return None
    magic = bytes.fromhex(fields["magic"])
    return Handler(
        magic=magic,
        mask=bytes.fromhex(fields["mask"]) if "mask" in fields else b"\xff" * len(magic),
        offset=int(fields.get("offset", "0")),
        fixed="F" in fields.get("flags", ""),
    )


def is_native(platform: str, engine_platform: str) -> bool:
    """Whether an engine runs programs of ``platform`` without an emulator. Pure, like what follows."""
    (system, machine), (engine_system, engine_machine) = _parts(platform), _parts(engine_platform)
    return system == engine_system and (machine == engine_machine or (engine_machine, machine) in _NATIVE_TOO)


def foreign_execution(platform: str, engine_platform: str, *, handlers: Sequence[Handler] | None) -> Execution:
    """Whether an engine can run programs of ``platform``, by the handlers of its kernel (None: they are not known)."""
    (system, machine), (engine_system, engine_machine) = _parts(platform), _parts(engine_platform)
    if system != engine_system:
        return Execution.IMPOSSIBLE
    header = _header(machine)
    if handlers is None or header is None:
        return Execution.UNKNOWN
    if any(handler.fixed and handler.takes(header) for handler in handlers):
        return Execution.EMULATED
    return Execution.UNKNOWN if (engine_machine, machine) in _MAYBE_NATIVE else Execution.IMPOSSIBLE


def listed_execution(platform: str, listed: Collection[str] | None) -> Execution:
    """Whether an engine can run programs of ``platform``, by the platforms that buildx names (None: none are named)."""
    if listed is None:
        return Execution.UNKNOWN
    return Execution.EMULATED if _parts(platform) in map(_parts, listed) else Execution.IMPOSSIBLE


def _parts(platform: str) -> tuple[str, str]:
    """System and architecture, without the variant."""
    system, architecture = f"{platform}/".split("/")[:2]
    return system, architecture


def _header(machine: str) -> bytes | None:
    """How a program of that architecture begins."""
    if machine not in _MACHINES:
        return None
    bits, order, number = _MACHINES[machine]
    little = order == "little"
    ident = b"\x7fELF" + bytes([bits, 1 if little else 2, 1]) + bytes(9)
    return ident + b"".join(field.to_bytes(2, "little" if little else "big") for field in (_PROGRAM, number))
