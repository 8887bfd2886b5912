import pytest

from support.engine import (
    DEFAULT_ADDRESS,
    Engine,
    EngineError,
    Leftovers,
    engine,
    engine_address,
    instance_label,
    leftovers,
    purge,
)

from .engine_objects import make_image, make_volume


def test_the_engine_is_the_one_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOLECULE_TEST_ENGINE_PROBLEM", raising=False)
    monkeypatch.setenv("DOCKER_HOST", "unix:///elsewhere")
    assert engine_address() == "unix:///elsewhere"
    monkeypatch.delenv("DOCKER_HOST")
    assert engine_address() == DEFAULT_ADDRESS


def test_without_an_engine_a_test_fails_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOLECULE_TEST_ENGINE_PROBLEM", "there is none here")
    with pytest.raises(pytest.fail.Exception, match="there is none here"):
        engine_address()


def test_the_label_of_an_installation() -> None:
    assert instance_label("one") == "molecule.platform.instance=one"


@pytest.mark.engine
async def test_an_error_has_the_engines_status_and_words(api: Engine) -> None:
    with pytest.raises(EngineError, match="No such container: none") as caught:
        await api.get("/containers/none/json")
    assert caught.value.status == 404
    assert not await api.exists("/containers/none/json")


@pytest.mark.engine
async def test_leftovers_are_found_by_label_and_purged(api: Engine, engine_url: str, label: str) -> None:
    assert not await leftovers(engine_url, label)
    key, _, value = label.partition("=")
    name = value[:20]
    image = await make_image(api, label)
    await make_volume(api, name, label)
    await api.call("POST", "/networks/create", {"Name": name, "Labels": {key: value}})
    mounts = [{"Type": "volume", "Source": name, "Target": "/data"}]
    body = {"Image": image, "Cmd": ["x"], "Labels": {key: value}, "HostConfig": {"Mounts": mounts}}
    await api.call("POST", "/containers/create", body, name=name)

    found = await leftovers(engine_url, label)
    assert found == Leftovers(containers=(name,), networks=(name,), volumes=(name,), images=(image,))
    assert found
    await purge(engine_url, label)
    assert not await leftovers(engine_url, label)
    await purge(engine_url, label)


@pytest.mark.engine
async def test_purging_spares_what_others_made(api: Engine, engine_url: str, label: str) -> None:
    await make_volume(api, "mine" + label[-20:], label)
    await purge(engine_url, label + "-other")
    assert (await leftovers(engine_url, label)).volumes == ("mine" + label[-20:],)


@pytest.mark.engine
async def test_purging_needs_a_whole_label(engine_url: str) -> None:
    with pytest.raises(ValueError, match="name=value"):
        await purge(engine_url, "molecule.platform.instance")


async def test_an_engine_that_is_away_is_no_answer() -> None:
    async with engine("unix:///no/such/socket") as api:
        with pytest.raises(OSError, match="/no/such/socket"):
            await api.get("/info")
