"""A real engine and real registries: plain and with TLS, open, with passwords, and with tokens."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from support.engine_proxy import EngineProxy
from support.images import PackedImage, packed_image
from support.registry import PASSWORD, USER, Registry, make_certificate, registry
from support.registry_front import Refusal, RegistryFront, registry_front
from workspace_server.engine import Credentials, Engine, PublishedImage, PullProgress
from workspace_server.errors import InvalidRequestError, SourceError, UnavailableError

pytestmark = pytest.mark.engine

NAME = "team/hello"


def nothing_for(host: str) -> Credentials:
    return Credentials(host=host, origin="no credentials")


def login(host: str, *, password: str = PASSWORD) -> Credentials:
    return Credentials(host=host, origin="a test", user=USER, password=password)


@pytest.fixture
def image(labels: Mapping[str, str]) -> PackedImage:
    return packed_image(labels)


@pytest.fixture
async def front(hub: Registry, image: PackedImage) -> AsyncIterator[RegistryFront]:
    """A registry that gives tokens to one user, with the image in it."""
    await hub.push(NAME, image)
    async with registry_front(hub, accounts={USER: PASSWORD}) as served:
        yield served


async def pull(
    engine: Engine, host: str, credentials: Credentials | None = None, *, tag: str = ":latest"
) -> str | None:
    return await engine.pull(f"{host}/{NAME}{tag}", None, credentials or nothing_for(host))


async def refusal(
    engine: Engine, host: str, credentials: Credentials | None = None, *, name: str = NAME
) -> SourceError:
    with pytest.raises(SourceError, match=f"{host}/{name}:latest") as caught:
        await engine.pull(f"{host}/{name}:latest", None, credentials or nothing_for(host))
    return caught.value


# Pulls


@pytest.mark.parametrize("tag", [":latest", ""])
async def test_an_image_is_pulled_and_its_digest_told(
    engine: Engine, hub: Registry, image: PackedImage, tag: str
) -> None:
    await hub.push(NAME, image)

    assert await pull(engine, hub.host, tag=tag) == image.digest
    found = await engine.image(f"{hub.host}/{NAME}:latest")
    assert found is not None
    assert (found.id, found.digests) == (image.id, (f"{hub.host}/{NAME}@{image.digest}",))


async def test_of_an_image_for_several_platforms_the_wanted_one_is_pulled(
    engine: Engine, hub: Registry, labels: Mapping[str, str]
) -> None:
    arm, amd = packed_image(labels, platform="linux/arm64"), packed_image(labels)
    digest = await hub.push(NAME, arm, amd)
    reference = f"{hub.host}/{NAME}:latest"

    assert await engine.pull(reference, "linux/arm64", nothing_for(hub.host)) == digest
    found = await engine.image(reference)
    assert found is not None
    assert (found.id, found.platform) == (arm.id, "linux/arm64")


async def test_the_progress_of_each_layer_is_told(engine: Engine, hub: Registry, labels: Mapping[str, str]) -> None:
    image = packed_image(labels, layers=2, layer_bytes=2_000_000)
    await hub.push(NAME, image)
    told: list[PullProgress] = []

    await engine.pull(f"{hub.host}/{NAME}:latest", None, nothing_for(hub.host), told.append)

    for layer in image.layers:
        of_layer = [each for each in told if each.layer == layer.removeprefix("sha256:")[:12]]
        assert (of_layer[0].status, of_layer[-1].status) == ("Pulling fs layer", "Pull complete")
        downloading = [each for each in of_layer if each.status == "Downloading"]
        assert {each.total for each in downloading} == {len(image.blobs[layer])}
    assert told[-1].status.startswith("Status: ")


async def test_a_password_opens_a_registry_that_has_tls(engine: Engine, tmp_path: Path, image: PackedImage) -> None:
    certificate = await make_certificate(tmp_path)
    async with registry(tmp_path / "private", private=True, tls=certificate) as private:
        await private.push(NAME, image)

        assert await pull(engine, private.host, login(private.host)) == image.digest


async def test_without_its_password_a_registry_denies(engine: Engine, tmp_path: Path, image: PackedImage) -> None:
    async with registry(tmp_path / "private", private=True) as private:
        await private.push(NAME, image)
        refusals = [
            await refusal(engine, private.host, shown)
            for shown in (nothing_for(private.host), login(private.host, password="hush"))
        ]

    assert [each.code for each in refusals] == ["registry_denied"] * 2
    assert "hush" not in str(refusals)


async def test_a_token_is_fetched_with_the_credentials(
    engine: Engine, front: RegistryFront, image: PackedImage
) -> None:
    assert await pull(engine, front.host, login(front.host)) == image.digest
    assert [seen.user for seen in front.seen if seen.path == "/token"] == [USER]


async def test_a_token_that_is_refused_denies(engine: Engine, front: RegistryFront) -> None:
    assert (await refusal(engine, front.host)).code == "registry_denied"


async def test_credentials_go_to_the_registry_and_not_to_where_it_keeps_its_layers(
    engine: Engine, front: RegistryFront, image: PackedImage
) -> None:
    await pull(engine, front.host, login(front.host))

    assert {seen.path.rpartition("/")[2] for seen in front.blobs_seen} == set(image.blobs)
    assert {seen.authorization for seen in front.blobs_seen} == {None}


async def test_credentials_of_another_host_are_not_shown(engine: Engine, front: RegistryFront) -> None:
    assert (await refusal(engine, front.host, login("registry.example.org"))).code == "registry_denied"
    assert [seen.authorization for seen in front.seen if seen.authorization] == []


async def test_credentials_of_a_host_whose_name_begins_alike_are_not_shown(
    engine: Engine, front: RegistryFront
) -> None:
    assert (await refusal(engine, front.host, login(front.host[:-1]))).code == "registry_denied"
    assert [seen.authorization for seen in front.seen if seen.authorization] == []


# What is there


async def test_what_is_published_is_told_and_not_pulled(
    engine: Engine, front: RegistryFront, image: PackedImage
) -> None:
    reference = f"{front.host}/{NAME}:latest"

    assert await engine.published(reference, login(front.host)) == PublishedImage(
        digest=image.digest, platforms=("linux/amd64",)
    )
    assert await engine.image(reference) is None


async def test_every_platform_of_what_is_published_is_told(
    engine: Engine, hub: Registry, labels: Mapping[str, str]
) -> None:
    platforms = ("linux/arm64", "linux/arm/v7", "linux/amd64")
    digest = await hub.push(NAME, *(packed_image(labels, platform=each) for each in platforms))

    found = await engine.published(f"{hub.host}/{NAME}", nothing_for(hub.host))
    assert found == PublishedImage(digest=digest, platforms=platforms)


async def test_what_is_not_published_is_a_refusal(engine: Engine, hub: Registry) -> None:
    with pytest.raises(SourceError) as caught:
        await engine.published(f"{hub.host}/{NAME}", nothing_for(hub.host))

    assert caught.value.code == "image_not_found"


# Failures


@pytest.mark.slow
async def test_a_layer_whose_connection_is_cut_is_taken_up_again_which_is_told(
    engine: Engine, hub: Registry, labels: Mapping[str, str]
) -> None:
    image = packed_image(labels, layer_bytes=1_000_000)
    await hub.push(NAME, image)
    told: list[str] = []
    async with registry_front(hub, open_to_all=True) as front:
        front.cuts = 1
        reference = f"{front.host}/{NAME}:latest"
        digest = await engine.pull(reference, None, nothing_for(front.host), lambda each: told.append(each.status))

    assert (digest, "Retrying in 5 seconds" in told) == (image.digest, True)


async def test_an_image_that_the_registry_has_not_is_missing(engine: Engine, hub: Registry) -> None:
    assert (await refusal(engine, hub.host)).code == "image_not_found"


async def test_a_registry_that_is_away_is_unreachable(engine: Engine) -> None:
    assert (await refusal(engine, "127.0.0.1:1")).code == "registry_unreachable"


async def test_a_registry_of_no_known_name_is_unreachable(engine: Engine) -> None:
    assert (await refusal(engine, "registry.invalid")).code == "registry_unreachable"


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        (429, "TOOMANYREQUESTS", "retry-after: 37.5s, allowed: 44000/minute", "registry_rate_limited"),
        (429, "TOOMANYREQUESTS", "You have reached your pull rate limit.", "registry_rate_limited"),
        (403, "DENIED", "Your authorization token has expired. Reauthenticate and try again.", "registry_denied"),
        (401, "UNAUTHORIZED", "authentication required", "registry_denied"),
        (404, "NAME_UNKNOWN", "The repository with name 'hello' does not exist in the registry", "image_not_found"),
        (503, "UNAVAILABLE", "try later", "registry_unreachable"),
    ],
)
async def test_what_large_registries_answer_is_understood(
    engine: Engine, front: RegistryFront, *, status: int, code: str, message: str, expected: str
) -> None:
    front.refusal = Refusal(status=status, code=code, message=message)

    assert (await refusal(engine, front.host, login(front.host))).code == expected


async def test_a_platform_that_an_image_is_not_for_is_a_mismatch(
    engine: Engine, hub: Registry, labels: Mapping[str, str]
) -> None:
    await hub.push(NAME, packed_image(labels), packed_image(labels, platform="linux/arm64"))

    with pytest.raises(SourceError, match="but not for linux/s390x") as caught:
        await engine.pull(f"{hub.host}/{NAME}:latest", "linux/s390x", nothing_for(hub.host))

    assert caught.value.code == "image_platform_mismatch"


@pytest.mark.parametrize("content", [None, b"something else"], ids=["lost", "damaged"])
async def test_a_layer_that_is_not_what_the_image_says_is_corrupted(
    engine: Engine, hub: Registry, image: PackedImage, content: bytes | None
) -> None:
    await hub.push(NAME, image)
    hub.damage(image.layers[0], content)

    assert (await refusal(engine, hub.host)).code == "image_corrupted"
    assert await engine.image(f"{hub.host}/{NAME}:latest") is None


async def test_a_stream_that_is_cut_off_is_no_success(
    proxy: EngineProxy, proxied: Engine, hub: Registry, image: PackedImage
) -> None:
    await hub.push(NAME, image)
    proxy.faults.cut_off("POST", "/images/create", 40)

    with pytest.raises(UnavailableError):
        await pull(proxied, hub.host)


@pytest.mark.parametrize(
    "reference",
    ["molecule-local/workspace-template-hermes:latest", "registry.example.org/molecule-local/workspace-template-x"],
)
async def test_a_local_build_is_never_pulled(proxy: EngineProxy, proxied: Engine, reference: str) -> None:
    with pytest.raises(InvalidRequestError):
        await proxied.pull(reference, None, nothing_for("registry.example.org"))

    assert proxy.calls == []
