"""The layers of a pull as steps: told by the engine's progress, counted as they become known."""

from itertools import count

from workspace_server.engine import PullProgress
from workspace_server.images.layers import Layers
from workspace_server.model.build import BuildStep

A, B = "0123456789ab", "ba9876543210"


def said(layer: str, status: str, current: int | None = None, total: int | None = None) -> PullProgress:
    return PullProgress(layer=layer, status=status, current=current, total=total)


def layers(text: list[bytes] | None = None) -> Layers:
    """Layers whose clock goes on by a second whenever it is read."""
    seconds = count(1)
    return Layers((text if text is not None else []).append, now=lambda: float(next(seconds)))


def step(n: int, of: int, layer: str, **fields: object) -> BuildStep:
    return BuildStep(n=n, of=of, name=f"layer {layer}", **fields)  # type: ignore[arg-type]


def test_a_layer_is_numbered_as_it_is_named_and_all_are_of_as_many_as_are_known() -> None:
    pull = layers()

    assert pull.feed(said(A, "Pulling fs layer")) == [step(1, 1, A)]
    assert pull.feed(said(B, "Pulling fs layer")) == [step(1, 2, A), step(2, 2, B)]


def test_a_layer_tells_its_bytes_while_it_is_downloaded() -> None:
    pull = layers()
    pull.feed(said(A, "Pulling fs layer"))

    assert pull.feed(said(A, "Downloading", 10, 100)) == [step(1, 1, A, done_bytes=10, total_bytes=100)]
    assert pull.feed(said(A, "Download complete")) == [step(1, 1, A, done_bytes=100, total_bytes=100)]


def test_its_bytes_stay_whole_while_it_is_extracted() -> None:
    pull = layers()
    pull.feed(said(A, "Downloading", 10, 100))

    assert pull.feed(said(A, "Extracting", 5, 100)) == [step(1, 1, A, done_bytes=100, total_bytes=100)]


def test_a_layer_ends_when_it_is_pulled_with_the_seconds_since_its_first_byte() -> None:
    pull = layers()
    pull.feed(said(A, "Downloading", 10, 100))

    assert pull.feed(said(A, "Pull complete")) == [step(1, 1, A, seconds=1.0, done_bytes=100, total_bytes=100)]


def test_a_layer_that_is_there_is_cached_and_takes_no_time() -> None:
    assert layers().feed(said(A, "Already exists")) == [step(1, 1, A, cached=True, seconds=0.0)]


def test_a_download_that_begins_again_counts_again() -> None:
    pull = layers()
    pull.feed(said(A, "Downloading", 90, 100))
    pull.feed(said(A, "Retrying in 5 seconds"))

    assert pull.feed(said(A, "Downloading", 10, 100)) == [step(1, 1, A, done_bytes=10, total_bytes=100)]


def test_what_is_said_of_no_layer_is_no_step() -> None:
    pull = layers()

    assert pull.feed(said("latest", "Pulling from team/hello")) == []
    assert pull.feed(said("", "Digest: sha256:0")) == []


def test_the_log_has_each_change_of_a_layer_once_and_no_counting() -> None:
    text: list[bytes] = []
    pull = layers(text)
    for progress in (
        said("latest", "Pulling from team/hello"),
        said(A, "Pulling fs layer"),
        said(A, "Downloading", 1, 2),
        said(A, "Downloading", 2, 2),
        said(A, "Pull complete"),
        said("", "Digest: sha256:0"),
    ):
        pull.feed(progress)

    assert [line.decode() for line in text] == [
        "Pulling from team/hello",
        f"{A}: Pulling fs layer",
        f"{A}: Downloading",
        f"{A}: Pull complete",
        "Digest: sha256:0",
    ]
