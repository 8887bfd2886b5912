"""Why a build failed, from what its builder printed. Pure.

What decides is which piece of work failed: an instruction, the look-up of an image, or nothing at all. The text is
looked at only where builders give nothing else: for the full disk, the foreign program and the engine that went away.
"""

import re
from dataclasses import dataclass

from workspace_server.engine.faults import no_space
from workspace_server.engine.progress import LONGEST_LINE, Decoder, Trouble
from workspace_server.model.build import BuildFailure, BuildFault
from workspace_server.text import shortened

_EXIT_CODE = re.compile(r"(?:exit code|returned a non-zero code): (\d{1,3})$")
_IMAGE_LOOKUPS = (
    re.compile(r"\[internal\] load metadata for (?P<image>\S+)"),
    re.compile(r"resolve image config for (?:docker-image://)?(?P<image>\S+)"),
    re.compile(r"\[auth\] (?P<image>[^\s:]+):\S* token for .*"),
    re.compile(r"(?:docker-image://)(?P<image>\S+)"),
    re.compile(r"(?:\[[^\]]*\] )?FROM (?:--platform=\S+ )?(?P<image>\S+)(?: AS \S+)?", re.IGNORECASE),
)
_WRAPPINGS = re.compile(
    r"^(?:ERROR: |Error response from daemon: |failed to solve: |failed to solve with frontend \S+: "
    r"|rpc error: code = \w+ desc = |failed to create LLB definition: )+"
)
_ENGINE_WORDS = (
    "cannot connect to the docker daemon",
    "error during connect",
    "unexpected eof",
    "error reading from server",
    "connection reset by peer",
    "code = unavailable",
    "failed to receive status",
    "failed to list workers",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the builder's client ended: its exit code (negative: the signal), and whether the platform was foreign."""

    returncode: int
    foreign_platform: bool


def verdict(decoder: Decoder, ending: Ending) -> BuildFailure:
    """The failure of a build whose client ended with an error."""
    trouble = decoder.trouble
    text = trouble.error if trouble else decoder.last_word
    fault, image = _fault(decoder, trouble, text, ending)
    code = _EXIT_CODE.search(text)
    word = _where_it_was_full(text, decoder) if fault is BuildFault.NO_SPACE else text
    return BuildFailure(
        fault=fault,
        step=trouble.step if trouble else None,
        exit_code=int(code[1]) if code else None,
        detail=shortened(_WRAPPINGS.sub("", word), LONGEST_LINE),
        tail=tuple(decoder.tail),
        base_image=image,
    )


def _fault(decoder: Decoder, trouble: Trouble | None, text: str, ending: Ending) -> tuple[BuildFault, str | None]:
    ran = _EXIT_CODE.search(text) is not None
    if no_space(text) or (ran and any(no_space(line) for line in decoder.tail)):
        return BuildFault.NO_SPACE, None
    if ran:
        foreign = ending.foreign_platform and _is_foreign_program(text, decoder)
        return BuildFault.PLATFORM if foreign else BuildFault.STEP, None
    if ending.returncode < 0 or _engine_gone(text):
        return BuildFault.ENGINE, None
    if trouble is None:
        return BuildFault.STEP if _refused(text) and not decoder.working else BuildFault.ENGINE, None
    return _fault_of(trouble)


def _fault_of(trouble: Trouble) -> tuple[BuildFault, str | None]:
    image = _image_of(trouble.name)
    if image is not None:
        return BuildFault.BASE_IMAGE, image
    # What is neither an instruction nor done to read the template is the engine's own: exporting, mostly.
    of_template = trouble.step is not None or trouble.name.startswith("[internal]")
    return BuildFault.STEP if of_template else BuildFault.ENGINE, None


def _where_it_was_full(text: str, decoder: Decoder) -> str:
    """What names the place: the builder's own word, else the last that the step's program said of it."""
    return next((line for line in (text, *reversed(decoder.tail)) if no_space(line)), text)


def _refused(text: str) -> bool:
    """Whether the builder refused the Dockerfile before its first step: then nothing has failed but the whole."""
    return "failed to solve" in text or text.startswith("Error response from daemon: ")


def _is_foreign_program(text: str, decoder: Decoder) -> bool:
    """Whether a step could not start a program of another architecture: its exit code alone does not tell."""
    return any("exec format error" in line.lower() for line in (text, *decoder.tail))


def _engine_gone(text: str) -> bool:
    """Whether the client lost its engine: it has no exit code of its own for that, only these words."""
    return any(words in text.lower() for words in _ENGINE_WORDS)


def _image_of(name: str) -> str | None:
    """The image that a piece of work looked up or pulled, without the digest the builder added."""
    for pattern in _IMAGE_LOOKUPS:
        if (match := pattern.fullmatch(name)) is not None:
            return match["image"].partition("@")[0]
    return None
