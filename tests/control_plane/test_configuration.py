"""What the control plane gives at start: which of it is taken, and that nothing it does stops the server."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from support.control_plane_edge import ControlPlaneEdge, breaks_off, control_plane_edge, hangs_up, says, sends, waits
from support.registry import make_certificate
from workspace_server.certificates import trusted
from workspace_server.control_plane import configuration
from workspace_server.control_plane.configuration import GIVEN, TenantConfiguration
from workspace_server.control_plane.connection import open_control_plane_client
from workspace_server.settings import Settings, load_settings

PATH = "/cp/tenants/config"
FAILED = "tenant_configuration_unavailable"


@pytest.fixture
async def plane() -> AsyncIterator[ControlPlaneEdge]:
    async with control_plane_edge() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with open_control_plane_client(ssl.create_default_context) as client:
        yield client


def settings(url: str) -> Settings:
    return load_settings(
        {
            "HOME": "/home/u",
            "MOLECULE_ORG_ID": "org-1",
            "ADMIN_TOKEN": "hush-admin",
            "PLATFORM_URL": "https://acme.example.org",
            "MOLECULE_CP_URL": url,
            "CP_PROVISION_URL": "http://127.0.0.1:1",
        }
    )


async def read(http: httpx.AsyncClient, url: str) -> tuple[dict[str, str], list[EventDict]]:
    known = TenantConfiguration()
    with capture_logs() as logs:
        await known.read(http, settings(url))
    return dict(await known.values()), logs


async def test_a_key_of_the_table_is_taken(plane: ControlPlaneEdge, http: httpx.AsyncClient) -> None:
    plane.answers[PATH] = says({"ANTHROPIC_API_KEY": "sk-1", "MODEL_PROVIDER": "anthropic:x"})

    values, _ = await read(http, plane.url)

    assert values == {"ANTHROPIC_API_KEY": "sk-1", "MODEL_PROVIDER": "anthropic:x"}


async def test_the_tenant_shows_its_token_and_names_its_organisation(
    plane: ControlPlaneEdge, http: httpx.AsyncClient
) -> None:
    await read(http, plane.url)

    (request,) = plane.seen
    assert (request.method, request.target, request.body) == ("GET", PATH, b"")
    assert request.headers["authorization"] == "Bearer hush-admin"
    assert request.headers["x-molecule-org-id"] == "org-1"


@pytest.mark.parametrize(
    "key",
    [
        *("PATH", "DATABASE_URL", "ADMIN_TOKEN", "MOLECULE_ENV", "MOLECULE_ORG_ID", "PLATFORM_URL", "PORT"),
        *(
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "NODE_OPTIONS",
            "BASH_ENV",
            "GIT_SSH_COMMAND",
        ),
        *("HTTP_PROXY", "https_proxy", "NO_PROXY", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"),
        *("WORKSPACE_ID", "SECRETS_ENCRYPTION_KEY", "DOCKER_HOST", "HOME", "anthropic_api_key", "UNKNOWN"),
    ],
)
async def test_any_other_key_is_named_once_and_left(plane: ControlPlaneEdge, http: httpx.AsyncClient, key: str) -> None:
    plane.answers[PATH] = says({key: "hush-value", "OPENAI_API_KEY": "sk-1"})

    values, logs = await read(http, plane.url)

    assert values == {"OPENAI_API_KEY": "sk-1"}
    assert [line["keys"] for line in logs if "not taken" in line["event"]] == [key]


async def test_all_that_is_left_is_named_in_one_bounded_line(plane: ControlPlaneEdge, http: httpx.AsyncClient) -> None:
    plane.answers[PATH] = says({f"K{number}\n\x1b[31m": "hush-value" for number in range(1000)})

    _, logs = await read(http, plane.url)

    (line,) = [line for line in logs if "not taken" in line["event"]]
    assert (line["count"], len(line["keys"]), "\n" in line["keys"], "\x1b" in line["keys"]) == (1000, 500, False, False)


async def test_no_value_is_in_the_log(plane: ControlPlaneEdge, http: httpx.AsyncClient) -> None:
    plane.answers[PATH] = says({"ANTHROPIC_API_KEY": "hush-1", "LD_PRELOAD": "hush-2", "OPENAI_API_KEY": "hush" * 1025})

    _, logs = await read(http, plane.url)

    assert logs != []
    assert "hush" not in str(logs)


@pytest.mark.parametrize(
    "value", ["", "x" * 4097, "é" * 2049, "a\0b", "\ud800"], ids=["empty", "long", "long in UTF-8", "NUL", "half"]
)
async def test_a_value_that_is_empty_or_fits_no_environment_is_left(
    plane: ControlPlaneEdge, http: httpx.AsyncClient, value: str
) -> None:
    plane.answers[PATH] = sends(json.dumps({"ANTHROPIC_API_KEY": value, "OPENAI_API_KEY": "x" * 4096}).encode())

    assert (await read(http, plane.url))[0] == {"OPENAI_API_KEY": "x" * 4096}


FAULTS = {
    "refused": (says({"A": "b"}, status=401), "answered 401"),
    "created": (says({"OPENAI_API_KEY": "hush"}, status=201), "answered 201"),
    "its own fault": (says({"OPENAI_API_KEY": "hush"}, status=500), "answered 500"),
    "a redirect": (sends(b"", 302, Location="/elsewhere"), "answered 302"),
    "hangs up": (hangs_up, "does not answer"),
    "breaks off": (breaks_off(b'{"OPENAI_API_KEY": "hush"'), "does not answer"),
    "HTML": (sends(b"<html>hush</html>", Content_Type="text/html"), "no JSON"),
    "bottomless": (sends(b"[" * 60_000), "no JSON"),
    "10 MiB": (sends(b'{"A": "' + b"x" * 10 * 1024 * 1024 + b'"}'), "larger than 64 KiB"),
    "a list": (says(["hush"]), "no map of texts"),
    "a number": (says({"OPENAI_API_KEY": "hush", "B": 1}), "no map of texts"),
    "a null": (says({"OPENAI_API_KEY": "hush", "B": None}), "no map of texts"),
    "nothing": (says(None), "no map of texts"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_goes_wrong_is_logged_and_nothing_is_taken(
    plane: ControlPlaneEdge, http: httpx.AsyncClient, fault: str
) -> None:
    plane.answers[PATH], why = FAULTS[fault]

    values, logs = await read(http, plane.url)

    (line,) = logs
    assert (values, line["log_level"], line["code"]) == ({}, "error", FAILED)
    assert why in line["event"]
    assert "read again when the server starts" in line["hint"]
    assert "hush" not in str(logs)


async def test_a_redirect_is_not_followed(plane: ControlPlaneEdge, http: httpx.AsyncClient) -> None:
    plane.answers[PATH] = sends(b"", 307, Location="/cp/elsewhere")

    await read(http, plane.url)

    assert [each.target for each in plane.seen] == [PATH]


async def test_a_control_plane_that_is_away_is_logged(http: httpx.AsyncClient) -> None:
    _, logs = await read(http, "http://127.0.0.1:1")

    assert [(line["log_level"], line["code"]) for line in logs] == [("error", FAILED)]


async def test_one_that_stays_silent_is_not_waited_for_longer_than_its_time(
    plane: ControlPlaneEdge, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configuration, "_SECONDS", 0.2)
    plane.answers[PATH] = waits(asyncio.Event(), says({}))

    values, logs = await read(http, plane.url)

    assert (values, [(line["event"], line["code"]) for line in logs]) == (
        {},
        [("reading this tenant's configuration took longer than 0.2 s", FAILED)],
    )


async def test_whoever_needs_the_variables_waits_until_the_control_plane_was_asked(
    plane: ControlPlaneEdge, http: httpx.AsyncClient
) -> None:
    allowed = asyncio.Event()
    plane.answers[PATH] = waits(allowed, says({"OPENAI_API_KEY": "sk-1"}))
    known = TenantConfiguration()
    reading = asyncio.create_task(known.read(http, settings(plane.url)))
    asking = asyncio.create_task(known.values())
    done, _ = await asyncio.wait({asking}, timeout=0.1)
    assert done == set()
    allowed.set()
    assert await asking == {"OPENAI_API_KEY": "sk-1"}
    await reading


async def test_it_is_read_over_tls_from_whom_the_operator_trusts(tmp_path: Path) -> None:
    certificate = await make_certificate(tmp_path)
    async with control_plane_edge(certificate) as plane:
        plane.answers[PATH] = says({"OPENAI_API_KEY": "sk-1"})
        async with open_control_plane_client(lambda: trusted(str(certificate.certificate), None)) as http:
            assert (await read(http, plane.url))[0] == {"OPENAI_API_KEY": "sk-1"}


async def test_a_certificate_that_nobody_trusts_is_refused_before_the_token_is_shown(tmp_path: Path) -> None:
    async with control_plane_edge(await make_certificate(tmp_path)) as plane:
        async with open_control_plane_client(lambda: trusted(None, None)) as http:
            values, _ = await read(http, plane.url)
        assert (values, plane.seen) == ({}, [])


@pytest.mark.parametrize("key", sorted(GIVEN))
def test_no_key_of_the_table_steers_a_program_or_this_server(key: str) -> None:
    own = {field.alias for field in Settings.model_fields.values()}
    steering = ("LD_", "DYLD_", "PYTHON", "NODE_", "GIT_", "DOCKER_", "MOLECULE_", "SSL_", "XDG_")
    assert key not in own
    assert not key.startswith(steering)
    assert not key.endswith(("_PROXY", "_CA_BUNDLE", "PATH"))
