"""The layers of a pull as steps, and as lines of its log. Pure: what the engine tells in, steps and text out."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from workspace_server.engine import PullProgress
from workspace_server.model.build import BuildStep

_HERE_ALREADY = "Already exists"
_DONE = (_HERE_ALREADY, "Pull complete")
_DOWNLOADING = "Downloading"
_DOWNLOADED = ("Verifying Checksum", "Download complete", "Extracting", "Pull complete")


@dataclass(slots=True, kw_only=True)
class _Layer:
    n: int
    status: str = ""
    began: float | None = None
    seconds: float | None = None
    done_bytes: int | None = None
    total_bytes: int | None = None


class Layers:
    """The layers of one pull, numbered in the order in which the engine names them."""

    def __init__(self, on_text: Callable[[bytes], None], now: Callable[[], float] = time.monotonic) -> None:
        self._on_text = on_text
        self._now = now
        self._layers: dict[str, _Layer] = {}

    def feed(self, progress: PullProgress) -> list[BuildStep]:
        """Take what the engine tells, and return the steps that changed by it."""
        if not progress.layer or progress.status.startswith("Pulling from "):  # that one is the tag
            self._on_text(progress.status.encode())
            return []
        is_new = progress.layer not in self._layers
        layer = self._layers.setdefault(progress.layer, _Layer(n=len(self._layers) + 1))
        if progress.status != layer.status:
            self._on_text(f"{progress.layer}: {progress.status}".encode())
        self._note(layer, progress)
        changed = self._layers if is_new else [progress.layer]  # one more layer: all are of so many
        return [self._step(name) for name in changed]

    def _note(self, layer: _Layer, progress: PullProgress) -> None:
        layer.status = progress.status
        if progress.status == _DOWNLOADING:
            layer.began = layer.began or self._now()
            layer.done_bytes, layer.total_bytes = progress.current, progress.total
        elif progress.status in _DOWNLOADED:
            layer.done_bytes = layer.total_bytes
        if progress.status in _DONE:
            layer.seconds = round(self._now() - layer.began, 3) if layer.began else 0.0

    def _step(self, name: str) -> BuildStep:
        layer = self._layers[name]
        return BuildStep(
            n=layer.n,
            of=len(self._layers),
            name=f"layer {name}",
            cached=layer.status == _HERE_ALREADY,
            seconds=layer.seconds,
            done_bytes=layer.done_bytes,
            total_bytes=layer.total_bytes,
        )
