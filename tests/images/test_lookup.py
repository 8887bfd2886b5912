"""Is the image of a build on the engine, and if not, why not?"""

from pathlib import Path

import pytest

from support.engine import Engine as Api
from support.engine_proxy import EngineProxy
from workspace_server.engine import Engine
from workspace_server.errors import UnavailableError
from workspace_server.images.identity import BuildIdentity
from workspace_server.images.ledger import ImageLedger
from workspace_server.images.lookup import Hit, Miss, find, look_up, same_platform
from workspace_server.model import names

from .making import COMMIT, OTHER_COMMIT, URL, identity, labels_of, load_image, made_image, template

pytestmark = pytest.mark.engine


@pytest.fixture
def ledger(cache: Path) -> ImageLedger:
    return ImageLedger(cache)


@pytest.fixture
def wanted(runtime: str) -> BuildIdentity:
    return identity(template(runtime))


def tag_of(build: BuildIdentity) -> str:
    return f"{build.repository}:{build.tag}"


def latest_of(build: BuildIdentity) -> str:
    return f"{build.repository}:{build.floating_tag}"


async def image_of(api: Api, build: BuildIdentity, *tags: str, **labels: str) -> str:
    """An image as a build of ``build`` leaves it, with these tags."""
    return await load_image(api, labels=labels_of(build, **labels), tags=tags, platform=build.platform)


async def found(engine: Engine, ledger: ImageLedger, build: BuildIdentity) -> str | None:
    """The id of the image that the look-up found."""
    match await look_up(engine, ledger, build):
        case Hit(image=image):
            return image.id
        case Miss():
            return None


async def reason(
    engine: Engine, ledger: ImageLedger, build: BuildIdentity, *, was_built: bool = False
) -> tuple[str, str]:
    missed = await look_up(engine, ledger, build, lambda build_id: was_built and build_id == build.build_id)
    assert isinstance(missed, Miss)
    return missed.reason, missed.detail


# Hits


async def test_an_image_is_found_by_its_tag(
    api: Api, engine: Engine, ledger: ImageLedger, wanted: BuildIdentity
) -> None:
    image = await made_image(api, ledger, wanted, tag_of(wanted))

    assert await found(engine, ledger, wanted) == image


async def test_a_hit_by_tag_costs_one_call(
    api: Api, proxy: EngineProxy, proxied: Engine, ledger: ImageLedger, wanted: BuildIdentity
) -> None:
    await made_image(api, ledger, wanted, tag_of(wanted))

    await look_up(proxied, ledger, wanted)

    assert [call.path for call in proxy.calls if call.path != "/version"] == [f"/images/{tag_of(wanted)}/json"]


async def test_an_image_without_any_tag_is_found_by_its_label(
    api: Api, engine: Engine, ledger: ImageLedger, wanted: BuildIdentity
) -> None:
    image = await made_image(api, ledger, wanted)

    assert await found(engine, ledger, wanted) == image


async def test_an_image_whose_tag_was_moved_by_hand_is_found_by_its_label(
    api: Api, engine: Engine, ledger: ImageLedger, wanted: BuildIdentity, runtime: str
) -> None:
    image = await made_image(api, ledger, wanted, tag_of(wanted))
    other = await load_image(api, labels={names.RUNTIME: runtime})
    await api.call("POST", f"/images/{other}/tag", repo=wanted.repository, tag=wanted.tag)

    assert await found(engine, ledger, wanted) == image


async def test_an_image_of_a_variant_serves_who_asked_for_none(
    api: Api, engine: Engine, ledger: ImageLedger, wanted: BuildIdentity
) -> None:
    plain = identity(wanted.template, platform="linux/arm64")
    image = await made_image(api, ledger, plain, tag_of(plain), platform="linux/arm64/v8")

    assert await found(engine, ledger, plain) == image


@pytest.mark.parametrize(
    ("there", "asked", "same"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64", "linux/arm64/v8", False),
        ("linux/arm64", "linux/arm", False),
        ("linux/amd64", "linux/arm64", False),
    ],
)
def test_a_variant_counts_only_when_it_was_asked_for(there: str, asked: str, same: bool) -> None:  # noqa: FBT001
    assert same_platform(there, asked) is same


# Misses


async def test_an_image_that_only_has_the_tag_is_no_hit(
    api: Api, engine: Engine, ledger: ImageLedger, wanted: BuildIdentity, runtime: str
) -> None:
    await load_image(api, labels={names.RUNTIME: runtime}, tags=(tag_of(wanted),))

    assert await reason(engine, ledger, wanted) == ("labels disagree", tag_of(wanted))


async def test_an_image_of_another_build_under_the_tag_is_no_hit(
    api: Api, engine: Engine, ledger: ImageLedger, wanted: BuildIdentity
) -> None:
    await image_of(api, wanted, tag_of(wanted), **{names.BUILD_ID: "0" * 64})

    assert await reason(engine, ledger, wanted) == ("labels disagree", tag_of(wanted))


@pytest.mark.parametrize("tagged", [True, False])
async def test_labels_do_not_make_up_for_another_architecture(
    api: Api,
    engine: Engine,
    ledger: ImageLedger,
    wanted: BuildIdentity,
    tagged: bool,  # noqa: FBT001
) -> None:
    tags = (tag_of(wanted),) if tagged else ()
    await made_image(api, ledger, wanted, *tags, platform="linux/arm64")

    assert await reason(engine, ledger, wanted) == ("platform changed", "linux/arm64 → linux/amd64")


@pytest.mark.parametrize("tagged", [True, False])
async def test_forged_labels_are_no_hit(
    api: Api,
    engine: Engine,
    ledger: ImageLedger,
    wanted: BuildIdentity,
    tagged: bool,  # noqa: FBT001
) -> None:
    image = await image_of(api, wanted, *((tag_of(wanted),) if tagged else ()))

    assert await reason(engine, ledger, wanted) == ("not made here", tag_of(wanted) if tagged else image)


async def test_an_image_built_from_ours_inherits_the_labels_and_is_no_hit_even_under_our_tag(
    api: Api, engine: Engine, ledger: ImageLedger, wanted: BuildIdentity
) -> None:
    ours = await made_image(api, ledger, wanted)
    child = await image_of(api, wanted, tag_of(wanted), inherited="1")

    assert await found(engine, ledger, wanted) == ours
    await engine.remove_image(ours)
    assert await reason(engine, ledger, wanted) == ("not made here", tag_of(wanted))
    assert child != ours


async def test_an_image_of_another_source_under_the_tag_is_no_hit(
    api: Api, engine: Engine, ledger: ImageLedger, wanted: BuildIdentity, runtime: str
) -> None:
    fork = identity(template(runtime, f"{URL}-fork"))
    await made_image(api, ledger, fork, tag_of(wanted))

    assert await reason(engine, ledger, wanted) == ("source changed", f"{URL}-fork → {URL}")


async def test_an_image_that_another_build_made_is_no_hit(
    api: Api, engine: Engine, ledger: ImageLedger, wanted: BuildIdentity
) -> None:
    image = await image_of(api, wanted, tag_of(wanted))
    ledger.note_made(image, "0" * 64)

    assert await reason(engine, ledger, wanted) == ("not made here", tag_of(wanted))


async def test_without_any_image_of_the_runtime_there_is_no_image(
    engine: Engine, ledger: ImageLedger, wanted: BuildIdentity
) -> None:
    assert await reason(engine, ledger, wanted) == ("no image", "")


async def test_an_image_of_another_runtime_is_no_image(
    api: Api, engine: Engine, ledger: ImageLedger, wanted: BuildIdentity, runtime: str
) -> None:
    await image_of(api, identity(template(f"{runtime}-2"), OTHER_COMMIT))
    try:
        assert await reason(engine, ledger, wanted) == ("no image", "")
    finally:
        for image in await engine.images({names.RUNTIME: f"{runtime}-2"}):
            await engine.remove_image(image.id)


async def test_an_image_of_another_commit_tells_that_the_commit_moved(
    api: Api, engine: Engine, ledger: ImageLedger, wanted: BuildIdentity
) -> None:
    old = identity(wanted.template, OTHER_COMMIT)
    await image_of(api, old, tag_of(old), latest_of(old))

    assert await reason(engine, ledger, wanted) == ("commit moved", f"{OTHER_COMMIT[:12]} → {COMMIT[:12]}")


@pytest.mark.parametrize("order", [1, -1])
async def test_of_several_commits_the_newest_is_the_one_that_moved(
    api: Api, engine: Engine, ledger: ImageLedger, wanted: BuildIdentity, order: int
) -> None:
    for commit, year in (("a" * 40, 2024), ("b" * 40, 2025))[::order]:
        old = identity(wanted.template, commit)
        await load_image(api, labels=labels_of(old), tags=(tag_of(old),), created=f"{year}-01-01T00:00:00Z")

    assert await reason(engine, ledger, wanted) == ("commit moved", f"{'b' * 12} → {COMMIT[:12]}")


async def test_an_image_for_another_platform_tells_that_the_platform_changed(
    api: Api, engine: Engine, ledger: ImageLedger, wanted: BuildIdentity
) -> None:
    other = identity(wanted.template, platform="linux/arm64")
    await image_of(api, other, tag_of(other), latest_of(other))

    assert await reason(engine, ledger, wanted) == ("platform changed", "linux/arm64 → linux/amd64")


async def test_an_image_of_another_repository_tells_that_the_source_changed(
    api: Api, engine: Engine, ledger: ImageLedger, wanted: BuildIdentity, runtime: str
) -> None:
    fork = identity(template(runtime, f"{URL}-fork"))
    await image_of(api, fork, tag_of(fork), latest_of(fork))

    assert await reason(engine, ledger, wanted) == ("source changed", f"{URL}-fork → {URL}")


async def test_a_build_that_once_ended_well_tells_that_its_image_was_removed(
    api: Api, engine: Engine, ledger: ImageLedger, wanted: BuildIdentity
) -> None:
    old = identity(wanted.template, OTHER_COMMIT)
    await image_of(api, old, tag_of(old), latest_of(old))

    assert await reason(engine, ledger, wanted, was_built=True) == ("image was removed", "")


def test_a_reason_is_said_with_its_detail() -> None:
    assert [str(Miss(reason="no image")), str(Miss(reason="commit moved", detail="a → b"))] == [
        "no image",
        "commit moved a → b",
    ]


async def test_the_reason_costs_one_call_however_many_images_there_are(
    api: Api, proxy: EngineProxy, proxied: Engine, ledger: ImageLedger, wanted: BuildIdentity
) -> None:
    for commit in (OTHER_COMMIT, OTHER_COMMIT[::-1]):
        old = identity(wanted.template, commit)
        await image_of(api, old, tag_of(old))

    assert (await reason(proxied, ledger, wanted))[0] == "commit moved"
    lists = proxy.count("GET", "/images/json.*")
    assert (lists, proxy.count("GET", "/images/.*")) == (2, 3)  # by build id and by runtime, and the tag


async def test_who_needs_no_reason_pays_for_none(
    api: Api, proxy: EngineProxy, proxied: Engine, ledger: ImageLedger, wanted: BuildIdentity
) -> None:
    old = identity(wanted.template, OTHER_COMMIT)
    await image_of(api, old, tag_of(old))

    assert await find(proxied, ledger, wanted) is None
    assert proxy.count("GET", "/images/.*") == 2


async def test_an_engine_that_fails_is_neither_hit_nor_miss(
    proxy: EngineProxy, proxied: Engine, ledger: ImageLedger, wanted: BuildIdentity
) -> None:
    proxy.faults.answer("GET", "/images/.*", status=500)

    with pytest.raises(UnavailableError):
        await look_up(proxied, ledger, wanted)
