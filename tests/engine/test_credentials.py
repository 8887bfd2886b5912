"""What a registry is shown: its pair of variables, else what the docker configuration has for it, else nothing."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from workspace_server.engine import Credentials, RegistryAccess
from workspace_server.settings import load_settings

ECR = "123456789012.dkr.ecr.us-east-2.amazonaws.com"
GHCR = {"GHCR_USER": "octocat", "GHCR_TOKEN": "hush-ghcr"}
OTHER = {"MOLECULE_REGISTRY_USER": "puller", "MOLECULE_REGISTRY_TOKEN": "hush-other"}
NOTHING = (
    "no credentials: MOLECULE_REGISTRY_USER and MOLECULE_REGISTRY_TOKEN are not both set, and the docker configuration "
    "has none for registry.example.org"
)


class Home:
    """A user with a docker configuration and credential helpers."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.programs = directory / "bin"
        self.programs.mkdir()
        (directory / ".docker").mkdir()

    def configure(self, configuration: object) -> None:
        text = configuration if isinstance(configuration, str) else json.dumps(configuration)
        (self.directory / ".docker" / "config.json").write_text(text)

    def helper(self, name: str, script: str) -> None:
        """A credential helper that keeps what it is asked in ``asked`` and what it may know in ``environment``."""
        program = self.programs / f"docker-credential-{name}"
        kept = f'cat >"{self.directory}/asked"; env >"{self.directory}/environment"; test "$1" = get || exit 9'
        program.write_text(f"#!/bin/sh\n{kept}\n{script}\n")
        program.chmod(0o700)

    def answering(self, name: str, user: str, secret: str) -> None:
        self.helper(name, f"echo '{json.dumps({'ServerURL': 'x', 'Username': user, 'Secret': secret})}'")

    @property
    def asked(self) -> str:
        return (self.directory / "asked").read_text()

    @property
    def told(self) -> str:
        return (self.directory / "environment").read_text()

    async def credentials(self, host: str, **variables: str) -> Credentials:
        settings = load_settings({"HOME": str(self.directory), "PATH": f"{self.programs}:/usr/bin:/bin", **variables})
        return await RegistryAccess.from_settings(settings).credentials(host)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def inline(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def shown(credentials: Credentials) -> Any:
    """What the engine is sent for the registry."""
    return json.loads(base64.urlsafe_b64decode(credentials.headers["X-Registry-Auth"]))


def login(user: str, password: str, host: str) -> Mapping[str, str]:
    return {"username": user, "password": password, "serveraddress": host}


# Variables


@pytest.mark.parametrize("host", ["ghcr.io", "GHCR.IO"])
async def test_ghcr_is_shown_its_own_pair(home: Home, host: str) -> None:
    found = await home.credentials(host, **GHCR, **OTHER)

    assert shown(found) == login("octocat", "hush-ghcr", host)
    assert found.origin == "the credentials of GHCR_USER and GHCR_TOKEN"


@pytest.mark.parametrize(
    "host", ["ghcr.io.example.org", "xghcr.io", "ghcr.io:444", "registry.example.org", "docker.io"]
)
async def test_no_other_host_is_shown_the_pair_of_ghcr(home: Home, host: str) -> None:
    assert (await home.credentials(host, **GHCR)).headers == {}


async def test_any_other_host_is_shown_the_registrys_pair(home: Home) -> None:
    found = await home.credentials("registry.example.org:5000", **GHCR, **OTHER)

    assert shown(found) == login("puller", "hush-other", "registry.example.org:5000")


async def test_ghcr_is_not_shown_the_registrys_pair(home: Home) -> None:
    assert (await home.credentials("ghcr.io", **OTHER)).headers == {}


async def test_space_around_a_pair_is_none_of_it(home: Home) -> None:
    found = await home.credentials("ghcr.io", GHCR_USER=" octocat\n", GHCR_TOKEN="\thush-ghcr ")

    assert shown(found) == login("octocat", "hush-ghcr", "ghcr.io")


@pytest.mark.parametrize("variable", GHCR)
async def test_half_a_pair_of_ghcr_is_none(home: Home, variable: str) -> None:
    found = await home.credentials("ghcr.io", **{variable: GHCR[variable]})

    assert (found.headers, "GHCR_USER and GHCR_TOKEN are not both set" in found.origin) == ({}, True)


async def test_the_header_is_url_safe_base64_with_its_padding() -> None:
    header = Credentials(host="r.example.org", origin="x", user="ÿ>>>", password="???>").headers["X-Registry-Auth"]

    assert (set("+/") & set(header), len(header) % 4) == (set(), 0)


# The docker configuration


async def test_credentials_in_the_configuration_are_shown_to_their_host(home: Home) -> None:
    home.configure({"auths": {"registry.example.org": inline("u", "p:w"), "other.example.org": inline("o", "o")}})
    found = await home.credentials("registry.example.org")

    assert shown(found) == login("u", "p:w", "registry.example.org")
    assert found.origin == "the credentials in the docker configuration"


async def test_an_old_entry_that_is_a_url_counts_for_its_host(home: Home) -> None:
    home.configure({"auths": {"https://registry.example.org/v1/": inline("u", "p")}})

    assert shown(await home.credentials("registry.example.org")) == login("u", "p", "registry.example.org")


async def test_an_identity_token_is_shown_as_one(home: Home) -> None:
    home.configure({"auths": {"registry.example.org": {**inline("u", ""), "identitytoken": "hush"}}})

    assert shown(await home.credentials("registry.example.org")) == {
        "identitytoken": "hush",
        "serveraddress": "registry.example.org",
    }


async def test_docker_hub_is_found_under_its_old_name(home: Home) -> None:
    home.configure({"auths": {"https://index.docker.io/v1/": inline("u", "p")}})

    assert shown(await home.credentials("docker.io"))["username"] == "u"


async def test_variables_win_over_the_configuration(home: Home) -> None:
    home.configure({"auths": {"registry.example.org": inline("u", "p")}})

    assert shown(await home.credentials("registry.example.org", **OTHER))["username"] == "puller"


async def test_docker_config_names_another_directory(home: Home, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "config.json").write_text(json.dumps({"auths": {"r.example.org": inline("u", "p")}}))

    assert shown(await home.credentials("r.example.org", DOCKER_CONFIG=str(elsewhere)))["username"] == "u"


async def test_the_configuration_is_read_anew_each_time(home: Home) -> None:
    access = RegistryAccess.from_settings(load_settings({"HOME": str(home.directory)}))
    before = await access.credentials("r.example.org")
    home.configure({"auths": {"r.example.org": inline("u", "p")}})

    assert (before.headers, (await access.credentials("r.example.org")).user) == ({}, "u")


@pytest.mark.parametrize("configuration", [{}, [], {"auths": []}, {"currentContext": "default"}, {"auths": {"x": {}}}])
async def test_a_configuration_without_the_host_has_nothing(home: Home, configuration: object) -> None:
    home.configure(configuration)
    found = await home.credentials("registry.example.org")

    assert (found.headers, found.origin) == ({}, NOTHING)


@pytest.mark.parametrize(
    "configuration",
    [
        "{",
        "[1]",
        '"text"',
        {"auths": ["x"]},
        {"auths": {"registry.example.org": "u:p"}},
        {"auths": {"registry.example.org": {"auth": "%%%"}}},
        {"auths": {"registry.example.org": {"auth": base64.b64encode(b"\xff\xfe:\xff").decode()}}},
        {"auths": {"registry.example.org": {"auth": base64.b64encode(b"no colon").decode()}}},
        {"auths": {"registry.example.org": {"auth": 7}}},
        {"credHelpers": ["x"]},
    ],
)
async def test_a_configuration_that_is_none_is_logged_and_nothing_is_shown(home: Home, configuration: object) -> None:
    home.configure(configuration)
    with capture_logs() as logs:
        found = await home.credentials("registry.example.org")

    assert (found.headers, found.origin.endswith("the docker configuration is not valid")) == ({}, True)
    assert [line["reason"] for line in logs] == ["the docker configuration is not valid"]


async def test_a_configuration_that_may_not_be_read_says_so(home: Home) -> None:
    (home.directory / ".docker" / "config.json").mkdir()  # root may read every file

    assert (await home.credentials("r.example.org")).origin.endswith(
        "the docker configuration cannot be read: Is a directory"
    )


# Helpers


@pytest.mark.parametrize(
    "configuration", [{"credHelpers": {ECR: "ecr-login"}, "credsStore": "desktop"}, {"credsStore": "ecr-login"}]
)
async def test_a_helper_is_asked_for_the_host(home: Home, configuration: object) -> None:
    home.answering("ecr-login", "AWS", "hush")
    home.configure(configuration)
    found = await home.credentials(ECR)

    assert (shown(found), home.asked) == (login("AWS", "hush", ECR), ECR)
    assert found.origin == "the credentials of docker-credential-ecr-login"


async def test_a_helper_of_another_host_is_not_asked(home: Home) -> None:
    home.answering("ecr-login", "AWS", "hush")
    home.configure({"credHelpers": {ECR: "ecr-login"}})

    assert (await home.credentials("registry.example.org")).headers == {}
    assert not (home.directory / "asked").exists()


async def test_the_store_is_asked_for_docker_hub_under_its_old_name(home: Home) -> None:
    home.answering("desktop", "u", "p")
    home.configure({"credsStore": "desktop"})

    assert (await home.credentials("docker.io")).user == "u"
    assert home.asked == "https://index.docker.io/v1/"


async def test_a_helper_may_have_an_identity_token(home: Home) -> None:
    home.answering("acr", "<token>", "hush")
    home.configure({"credHelpers": {"r.example.org": "acr"}})

    assert shown(await home.credentials("r.example.org")) == {"identitytoken": "hush", "serveraddress": "r.example.org"}


async def test_a_helper_that_has_none_leaves_it_to_the_configuration(home: Home) -> None:
    home.helper("desktop", "echo 'credentials not found in native keychain'; exit 1")
    home.configure({"credsStore": "desktop", "auths": {"r.example.org": inline("u", "p")}})

    assert shown(await home.credentials("r.example.org"))["username"] == "u"


@pytest.mark.parametrize("name", ["pass", "desktop"])
async def test_a_helper_that_answers_nobody_has_none(home: Home, name: str) -> None:
    home.answering(name, "", "")
    home.configure({"credsStore": name})

    found = await home.credentials("r.example.org")
    assert (found.headers, found.origin.endswith("the docker configuration has none for r.example.org")) == ({}, True)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo hush; echo hush >&2; exit 3", "docker-credential-ecr-login ended with exit code 3"),
        ("echo hush", "docker-credential-ecr-login answered something that is no credentials"),
        ('echo \'{"Secret": "hush"}\'', "docker-credential-ecr-login answered something that is no credentials"),
        ("echo '[\"hush\"]'", "docker-credential-ecr-login answered something that is no credentials"),
    ],
)
async def test_a_helper_that_fails_is_named_without_what_it_said(home: Home, script: str, reason: str) -> None:
    home.helper("ecr-login", script)
    home.configure({"credHelpers": {ECR: "ecr-login"}})
    with capture_logs() as logs:
        found = await home.credentials(ECR)

    assert (found.headers, found.origin.endswith(f", and {reason}")) == ({}, True)
    assert ([line["reason"] for line in logs], "hush" in str(logs)) == ([reason], False)


async def test_a_helper_that_is_not_installed_is_named(home: Home) -> None:
    home.configure({"credHelpers": {ECR: "none-such"}})

    assert (await home.credentials(ECR)).origin.endswith("the program docker-credential-none-such was not found")


async def test_a_helper_that_never_ends_is_given_up(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workspace_server.engine.credentials._HELPER_SECONDS", 0.2)
    home.helper("ecr-login", "sleep 60")
    home.configure({"credHelpers": {ECR: "ecr-login"}})

    assert (await home.credentials(ECR)).origin.endswith("docker-credential-ecr-login get took longer than 0.2 s")


async def test_a_helper_may_know_its_clouds_variables_and_no_secret_of_the_server(home: Home) -> None:
    home.answering("ecr-login", "AWS", "hush")
    home.configure({"credHelpers": {ECR: "ecr-login"}})
    await home.credentials(ECR, AWS_PROFILE="team", ADMIN_TOKEN="hush-admin", OPENAI_API_KEY="hush-key", **GHCR)

    assert ("AWS_PROFILE=team" in home.told, "hush" in home.told) == (True, False)


# Secrets


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials(host="r", origin="x", user="u", password="hush"),
        Credentials(host="r", origin="x", identity_token="hush"),
    ],
)
def test_the_text_of_credentials_shows_none(credentials: Credentials) -> None:
    assert "hush" not in f"{credentials} {credentials!r}"


def test_the_text_of_an_access_shows_no_secret() -> None:
    access = RegistryAccess.from_settings(
        load_settings({"HOME": "/", "AWS_SECRET_ACCESS_KEY": "hush", **GHCR, **OTHER})
    )

    assert "hush" not in repr(access)


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials(host="r", origin="x", user="u", password="hush"),
        Credentials(host="r", origin="x", identity_token="hush"),
    ],
)
def test_what_a_registry_repeats_of_them_is_masked(credentials: Credentials) -> None:
    basic = base64.b64encode(b"u:hush").decode()
    text = credentials.masked(f"bad login hush, Authorization: Basic {basic}")

    assert ("hush" in text, basic in text and bool(credentials.password)) == (False, False)


def test_without_credentials_nothing_is_masked() -> None:
    assert Credentials(host="r", origin="x").masked("denied") == "denied"
