"""Removing everything that one installation made on the engine, and nothing of anybody else's."""

import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from images.making import identity, labels_of, load_image, template
from support.engine import Engine as Api
from support.engine import instance_label, leftovers, purge
from workspace_server.cli.clean import remove_everything
from workspace_server.db.directory import open_data_directory
from workspace_server.engine import Engine, EngineAddress, open_engine
from workspace_server.errors import SettingsError
from workspace_server.images import BuildBook
from workspace_server.images.identity import BuildIdentity
from workspace_server.model import names
from workspace_server.model.build import BuildState
from workspace_server.settings import Settings, load_settings
from workspaces.world import installation

pytestmark = pytest.mark.engine


@pytest.fixture
async def engine(engine_url: str) -> AsyncIterator[Engine]:
    async with open_engine(EngineAddress(url=engine_url, local_socket=True)) as opened:
        yield opened


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    places = {"MOLECULE_DATA_DIR": str(tmp_path / "data"), "MOLECULE_LOCAL_BUILD_CACHE": str(tmp_path / "cache")}
    return load_settings({"HOME": str(tmp_path), "PATH": os.environ["PATH"], **places})


@pytest.fixture
def book(settings: Settings) -> BuildBook:
    return BuildBook(settings.build_cache)


@pytest.fixture
async def instance(engine_url: str, settings: Settings) -> AsyncIterator[str]:
    """This installation, as its data directory knows it."""
    with open_data_directory(settings.data_dir) as directory:
        identity = "0b1c0000-0000-4000-8000-" + secrets.token_hex(6)
        directory.mirror_instance(identity)
    yield identity
    await purge(engine_url, instance_label(identity))


@pytest.fixture
async def neighbour(engine_url: str) -> AsyncIterator[str]:
    async with installation(engine_url) as other:
        yield other


@pytest.fixture
async def wanted(engine_url: str) -> AsyncIterator[BuildIdentity]:
    runtime = f"t-{secrets.token_hex(6)}"
    yield identity(template(runtime))
    await purge(engine_url, f"{names.RUNTIME}={runtime}")


async def objects(api: Api, instance: str) -> None:
    """A container and a volume of an installation."""
    labels = dict(names.workspace_labels(instance, "w"))
    await api.call("POST", "/volumes/create", {"Name": f"v-{instance}", "Labels": labels})
    image = (await api.get("/images/python:3.11-slim/json"))["Id"]
    await api.call("POST", "/containers/create", {"Image": image, "Labels": labels}, name=f"c-{instance}")


async def image_of(api: Api, build: BuildIdentity, *tags: str) -> str:
    return await load_image(api, labels=labels_of(build), tags=tags)


async def clean(engine: Engine, settings: Settings) -> list[str]:
    return await remove_everything(engine, settings, keep_network=True)


async def test_containers_and_volumes_of_the_installation_are_removed(
    api: Api, engine: Engine, engine_url: str, settings: Settings, instance: str
) -> None:
    await objects(api, instance)

    assert (await clean(engine, settings), bool(await leftovers(engine_url, instance_label(instance)))) == ([], False)


@pytest.mark.usefixtures("instance")
async def test_those_of_another_installation_stay(
    api: Api, engine: Engine, engine_url: str, settings: Settings, neighbour: str
) -> None:
    await objects(api, neighbour)
    await clean(engine, settings)

    found = await leftovers(engine_url, instance_label(neighbour))
    assert (found.containers, found.volumes) == ((f"c-{neighbour}",), (f"v-{neighbour}",))


async def test_images_that_this_caches_builds_made_are_removed_with_all_their_tags(
    api: Api, engine: Engine, settings: Settings, book: BuildBook, wanted: BuildIdentity
) -> None:
    tags = [f"{wanted.repository}:{tag}" for tag in (wanted.tag, wanted.floating_tag)]
    image = await image_of(api, wanted, *tags)
    record = book.open(wanted, "no image")
    book.update(record.id, image_id=image)
    book.close(record.id, BuildState.SUCCEEDED)

    assert (await clean(engine, settings), await engine.image(image)) == ([], None)


async def test_an_image_of_a_build_that_its_server_did_not_survive_is_removed(
    api: Api, engine: Engine, settings: Settings, book: BuildBook, wanted: BuildIdentity
) -> None:
    image = await image_of(api, wanted)
    book.open(wanted, "no image")  # and killed

    assert (await clean(engine, settings), await engine.image(image)) == ([], None)


async def test_an_image_that_another_cache_made_stays(
    api: Api, engine: Engine, settings: Settings, book: BuildBook, wanted: BuildIdentity
) -> None:
    image = await image_of(api, wanted)
    book.close(book.open(wanted, "no image").id, BuildState.HIT)
    await clean(engine, settings)

    assert await engine.image(image) is not None


async def test_an_image_that_somebody_runs_is_left_and_named(
    api: Api, engine: Engine, settings: Settings, *, book: BuildBook, wanted: BuildIdentity, neighbour: str
) -> None:
    base = (await api.get("/images/python:3.11-slim/json"))["Id"]
    container = await api.call(
        "POST",
        "/containers/create",
        {"Image": base, "Cmd": ["sleep", "infinity"], "Labels": {names.INSTANCE: neighbour}},
    )
    await api.call("POST", f"/containers/{container['Id']}/start")
    changes = [f"LABEL {name}={value}" for name, value in labels_of(wanted).items()]
    committed = await api.call("POST", "/commit", {}, container=container["Id"], changes="\n".join(changes))
    running = await api.call(
        "POST",
        "/containers/create",
        {"Image": committed["Id"], "Cmd": ["sleep", "infinity"], "Labels": {names.INSTANCE: neighbour}},
    )
    await api.call("POST", f"/containers/{running['Id']}/start")
    book.close(book.open(wanted, "no image").id, BuildState.SUCCEEDED)

    assert await clean(engine, settings) == [committed["Id"]]


async def test_a_network_that_is_not_ours_to_keep_is_removed(
    api: Api, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = f"net-{secrets.token_hex(6)}"
    monkeypatch.setattr(names, "NETWORK", network)
    await engine.ensure_network(network)
    kept = [await clean(engine, settings), await engine.network(network) is not None]

    assert (kept, await remove_everything(engine, settings, keep_network=False)) == ([[], True], [])
    assert await engine.network(network) is None


@pytest.mark.usefixtures("instance")
async def test_nothing_is_removed_under_a_server_that_runs(engine: Engine, settings: Settings) -> None:
    with open_data_directory(settings.data_dir), pytest.raises(SettingsError) as caught:
        await clean(engine, settings)

    assert caught.value.code == "data_directory_in_use"


async def test_where_nothing_was_made_nothing_is_left(engine: Engine, settings: Settings) -> None:
    assert await clean(engine, settings) == []
