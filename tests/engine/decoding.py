"""Decoders fed with what builders really printed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from workspace_server.engine.progress import Decoder
from workspace_server.engine.progress_classic import ClassicDecoder
from workspace_server.engine.progress_plain import PlainDecoder
from workspace_server.engine.progress_rawjson import RawJsonDecoder
from workspace_server.model.build import BuildStep

DECODERS: dict[str, Callable[[Callable[[bytes], None]], Decoder]] = {
    "rawjson": RawJsonDecoder,
    "buildx": PlainDecoder,
    "buildkit": PlainDecoder,
    "classic": partial(ClassicDecoder, labels=1),  # as all samples were built
}
BUILDKITS = ("rawjson", "buildx", "buildkit")


@dataclass
class Decoded:
    """What came out: steps as they changed, and the text for people."""

    decoder: Decoder
    text: list[str]
    steps: list[BuildStep] = field(default_factory=list)

    @property
    def ends(self) -> list[BuildStep]:
        """The steps as they ended."""
        return [step for step in self.steps if step.seconds is not None or step.failed]


def sample(builder: str, name: str) -> list[bytes]:
    """The lines that a builder really printed; hosts and paths were renamed, nothing else."""
    path = Path(__file__).parent / "samples" / builder / f"{name}.txt"
    return path.read_bytes().removesuffix(b"\n").split(b"\n")


def decode(builder: str, lines: Iterable[bytes], *, ok: bool = True) -> Decoded:
    text: list[str] = []
    decoded = Decoded(DECODERS[builder](lambda line: text.append(line.decode())), text)
    for line in lines:
        decoded.steps += decoded.decoder.feed(line)
    decoded.steps += decoded.decoder.close(ok=ok)
    return decoded
