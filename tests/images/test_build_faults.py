"""A local build whose time is over, or whose cache cannot be used."""

from pathlib import Path

import pytest

from workspace_server.engine import ImageBuilder
from workspace_server.errors import DeadlineError, UnavailableError
from workspace_server.files import append_private
from workspace_server.images.identity import BuildIdentity
from workspace_server.images.records import BuildLog
from workspace_server.model.build import BuildState, BuildStep

from .conftest import FILES, Server, ServerOf, built, the_record

pytestmark = pytest.mark.engine


# Clocks


async def test_a_build_that_takes_too_long_says_what_it_was_at(server_of: ServerOf, wanted: BuildIdentity) -> None:
    server = server_of(seconds=0)

    with pytest.raises(DeadlineError) as caught:
        await built(server, wanted)

    assert (caught.value.code, "was not built within 0 s; it was at: fetch" in caught.value.message) == (
        "build_timeout",
        True,
    )
    assert the_record(server).error == caught.value.as_dict()


async def test_a_shorter_limit_inside_is_not_called_the_builds(server_of: ServerOf, wanted: BuildIdentity) -> None:
    async def hang() -> ImageBuilder:
        raise DeadlineError("docker version took longer than 30 s")

    with pytest.raises(DeadlineError) as caught:
        await built(server_of(choose=hang), wanted)

    assert (caught.value.code, caught.value.message) == ("deadline_exceeded", "docker version took longer than 30 s")


# A cache that cannot be used


@pytest.mark.parametrize("place", [".", "builds", "locks"])
async def test_a_cache_that_cannot_be_used_is_a_fault_with_a_name_and_no_state_is_left(
    server: Server, wanted: BuildIdentity, cache: Path, place: str
) -> None:
    blocked = _occupied(cache / place)

    with pytest.raises(UnavailableError) as caught:
        await built(server, wanted)
    blocked.unlink()
    image = await built(server, wanted)

    assert (caught.value.code, image.labels) == ("cache_unusable", wanted.labels(FILES["Dockerfile"].encode()))


@pytest.mark.parametrize("place", ["builds", "locks"])
async def test_a_link_out_of_the_cache_is_not_followed(
    server: Server, wanted: BuildIdentity, cache: Path, tmp_path: Path, place: str
) -> None:
    (tmp_path / "outside").mkdir()
    (cache / place).parent.mkdir()
    (cache / place).symlink_to(tmp_path / "outside")

    with pytest.raises(UnavailableError) as caught:
        await built(server, wanted)

    assert (caught.value.code, list((tmp_path / "outside").iterdir())) == ("cache_unusable", [])


async def test_a_link_in_place_of_a_builds_lock_is_not_followed(
    server: Server, wanted: BuildIdentity, cache: Path, tmp_path: Path
) -> None:
    (cache / "locks").mkdir(parents=True)
    (cache / "locks" / f"{wanted.build_id}.lock").symlink_to(tmp_path / "outside")

    with pytest.raises(UnavailableError) as caught:
        await built(server, wanted)

    assert (caught.value.code, (tmp_path / "outside").exists()) == ("cache_unusable", False)


@pytest.mark.parametrize("what", ["locks/{build_id}.lock", "builds/{record}/log"])
def test_an_interrupted_build_is_no_obstacle_whatever_lies_in_its_place(
    server_of: ServerOf, wanted: BuildIdentity, cache: Path, what: str
) -> None:
    record = server_of().book.open(wanted, "no image").id
    place = cache / what.format(build_id=wanted.build_id, record=record)
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(cache.parent / "outside")
    server_of().builds.settle_interrupted()

    assert not (cache.parent / "outside").exists()


async def test_an_image_is_handed_out_although_its_record_cannot_be_closed(
    server: Server, wanted: BuildIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workspace_server.images import records  # noqa: PLC0415

    write = records.write_private

    def full_at_the_end(file: Path, text: str) -> None:
        if '"phase": "done"' in text:
            raise OSError(28, "No space left on device", str(file))
        write(file, text)

    monkeypatch.setattr(records, "write_private", full_at_the_end)

    assert (await built(server, wanted)).labels == wanted.labels(FILES["Dockerfile"].encode())


async def test_a_log_that_cannot_be_written_ends_the_build(
    server: Server, wanted: BuildIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(record_id: str) -> BuildLog:
        return BuildLog(append_private(Path("/dev/full")), lambda: None)

    monkeypatch.setattr(server.book, "open_log", full)

    with pytest.raises(UnavailableError) as caught:
        await built(server, wanted)

    record = the_record(server)
    assert record.state is BuildState.FAILED
    assert caught.value.as_dict() == {
        "error": f"no space left on the disk of the build cache {server.book.log_path(record.id)}",
        "code": "no_space",
        "hint": "make room with: workspace-server images prune; or move the cache with MOLECULE_LOCAL_BUILD_CACHE",
    }


def test_a_step_is_known_by_its_number_and_name(server: Server, wanted: BuildIdentity) -> None:
    record = server.book.open(wanted, "no image")
    server.book.note_step(record.id, BuildStep(n=1, of=1, name="RUN a"))
    server.book.note_step(record.id, BuildStep(n=1, of=2, name="RUN b"))

    assert [step.name for step in server.book.get(record.id).steps] == ["RUN a", "RUN b"]


def _occupied(place: Path) -> Path:
    """A file where a folder is wanted."""
    place.parent.mkdir(exist_ok=True)
    place.touch()
    return place
