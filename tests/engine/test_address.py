"""Where the engine listens, found once for the API client and for the CLI."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from workspace_server.concurrency import Deadline
from workspace_server.engine.address import DEFAULT_URL, EngineAddress, resolve_address
from workspace_server.errors import SettingsError
from workspace_server.process import run


def configuration(directory: Path, text: str) -> dict[str, str]:
    (directory / "config.json").write_text(text)
    return {"PATH": os.environ["PATH"], "HOME": str(directory), "DOCKER_CONFIG": str(directory)}


async def with_context(directory: Path, endpoint: str) -> dict[str, str]:
    """A docker configuration in which a context of the user's own is the current one."""
    environment = configuration(directory, "{}")
    for arguments in (["create", "far", "--docker", endpoint], ["use", "far"]):
        done = await run(["docker", "context", *arguments], env=environment, deadline=Deadline(30))
        assert done.ok, done.complaint
    return environment


async def test_docker_host_wins(tmp_path: Path) -> None:
    environment = configuration(tmp_path, '{"currentContext": "far"}')

    address = await resolve_address("tcp://192.0.2.1:2375", environment, Deadline(5))

    assert address == EngineAddress(url="tcp://192.0.2.1:2375", local_socket=False)


@pytest.mark.parametrize("text", ["{}", '{"currentContext": "default"}', '{"currentContext": ""}', "{", "[]"])
async def test_without_a_context_of_its_own_it_is_the_usual_socket(tmp_path: Path, text: str) -> None:
    address = await resolve_address(None, configuration(tmp_path, text) | {"PATH": ""}, Deadline(5))

    assert address == EngineAddress(url=DEFAULT_URL, local_socket=True)


@pytest.mark.parametrize("url", ["tcp://u:hush@192.0.2.1:2375", "ssh://u:hush@192.0.2.1", "http://hush@h"])
async def test_an_address_with_a_user_is_refused_without_showing_it(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        await resolve_address(url, configuration(tmp_path, "{}"), Deadline(5))

    assert ("hush" in str(caught.value), "://***@" in caught.value.message) == (False, True)


@pytest.mark.engine
async def test_the_current_context_is_followed(tmp_path: Path) -> None:
    environment = await with_context(tmp_path, "host=tcp://192.0.2.1:2375")

    assert (await resolve_address(None, environment, Deadline(30))).url == "tcp://192.0.2.1:2375"


@pytest.mark.engine
async def test_a_context_named_in_the_environment_is_followed(tmp_path: Path) -> None:
    environment = await with_context(tmp_path, "host=tcp://192.0.2.1:2375")
    (tmp_path / "config.json").write_text("{}")

    address = await resolve_address(None, environment | {"DOCKER_CONTEXT": "far"}, Deadline(30))

    assert address.url == "tcp://192.0.2.1:2375"


@pytest.mark.engine
async def test_a_contexts_certificates_are_used_by_the_cli_too(tmp_path: Path) -> None:
    environment = await with_context(tmp_path, "host=tcp://192.0.2.1:2376")
    certificates = tmp_path / "contexts" / "tls" / hashlib.sha256(b"far").hexdigest() / "docker"
    certificates.mkdir(parents=True)
    key, certificate = certificates / "key.pem", certificates / "cert.pem"
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=far"]
    made = [*openssl, "-keyout", str(key), "-out", str(certificate)]
    assert (await run(made, env={"PATH": os.environ["PATH"]}, deadline=Deadline(30))).ok
    (certificates / "ca.pem").write_bytes(certificate.read_bytes())

    found = (await resolve_address(None, environment, Deadline(30))).cli_environment

    assert (found["DOCKER_TLS_VERIFY"], found["DOCKER_CERT_PATH"]) == ("1", str(certificates))


@pytest.mark.engine
async def test_a_context_that_does_not_exist_is_named(tmp_path: Path) -> None:
    environment = configuration(tmp_path, json.dumps({"currentContext": "gone"}))

    with pytest.raises(SettingsError, match="'gone'"):
        await resolve_address(None, environment, Deadline(30))


@pytest.mark.parametrize("url", ["ssh://host", "127.0.0.1:2375", "npipe:////./pipe/docker_engine", "http://x:1"])
async def test_an_address_that_cannot_be_used_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(SettingsError, match=r"unix:///var/run/docker\.sock"):
        await resolve_address(url, {}, Deadline(5))


async def test_tls_of_the_environment_belongs_to_docker_host(tmp_path: Path) -> None:
    environment = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}

    address = await resolve_address("tcp://192.0.2.1:2376", environment, Deadline(5))

    assert address.cli_environment == {
        "DOCKER_HOST": "tcp://192.0.2.1:2376",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": str(tmp_path),
    }
