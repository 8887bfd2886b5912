"""Which image a name means in its registry now, asked of the registry itself."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.images import packed_image
from support.registry import PASSWORD, USER, Certificate, Registry, make_certificate, registry
from support.registry_front import Refusal, RegistryFront, registry_front
from workspace_server.engine import RegistryAccess, credentials
from workspace_server.errors import SourceError
from workspace_server.images.identity import PullIdentity
from workspace_server.images.manifest import _challenge, _is_safe, newest_digest
from workspace_server.settings import load_settings

REPOSITORY = "team/workspace-template-hermes"
PAIR = {"MOLECULE_REGISTRY_USER": USER, "MOLECULE_REGISTRY_TOKEN": PASSWORD}


@pytest.fixture
async def front(hub: Registry) -> AsyncIterator[RegistryFront]:
    async with registry_front(hub, accounts={USER: PASSWORD}) as served:
        yield served


def identity(host: str) -> PullIdentity:
    return PullIdentity(runtime="hermes", reference=f"{host}/{REPOSITORY}:latest", platform=None)


def access(**variables: str) -> RegistryAccess:
    return RegistryAccess.from_settings(load_settings({"HOME": "/nonexistent", **variables}))


async def refusal(host: str, **variables: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await newest_digest(identity(host), access(**variables))
    return caught.value


async def test_an_open_registry_tells_the_digest(hub: Registry) -> None:
    pushed = await hub.push(REPOSITORY, packed_image({}))

    assert await newest_digest(identity(hub.host), access()) == pushed


async def test_of_an_image_for_several_platforms_it_is_the_index(hub: Registry) -> None:
    pushed = await hub.push(REPOSITORY, packed_image({}), packed_image({}, platform="linux/arm64"))

    assert await newest_digest(identity(hub.host), access()) == pushed


async def test_a_token_is_fetched_from_where_the_registry_sends(front: RegistryFront, hub: Registry) -> None:
    pushed = await hub.push(REPOSITORY, packed_image({}))

    assert await newest_digest(identity(front.host), access(**PAIR)) == pushed
    assert [(seen.method, seen.path, seen.user) for seen in front.seen] == [
        ("HEAD", f"/v2/{REPOSITORY}/manifests/latest", None),
        ("GET", "/token", USER),
        ("HEAD", f"/v2/{REPOSITORY}/manifests/latest", USER),
    ]


async def test_an_identity_token_is_traded_for_one(front: RegistryFront, hub: Registry, tmp_path: Path) -> None:
    """As after a login at a registry that gives those out."""
    pushed = await hub.push(REPOSITORY, packed_image({}))
    front.identity_tokens = {"an identity token": USER}
    entry = {"auth": base64.b64encode(b"<token>:").decode(), "identitytoken": "an identity token"}
    (tmp_path / "config.json").write_text(json.dumps({"auths": {front.host: entry}}))

    assert await newest_digest(identity(front.host), access(DOCKER_CONFIG=str(tmp_path))) == pushed


async def test_a_password_is_shown_where_it_is_asked_for(tmp_path: Path) -> None:
    async with registry(tmp_path / "private", private=True) as private:
        pushed = await private.push(REPOSITORY, packed_image({}))

        assert await newest_digest(identity(private.host), access(**PAIR)) == pushed
        assert (await refusal(private.host)).code == "registry_denied"


async def test_who_gets_no_token_is_denied(front: RegistryFront) -> None:
    error = await refusal(front.host, MOLECULE_REGISTRY_USER=USER, MOLECULE_REGISTRY_TOKEN="wrong")

    assert (error.code, "wrong" in str(error)) == ("registry_denied", False)


async def test_an_image_that_is_not_there_is_not_found(hub: Registry) -> None:
    assert (await refusal(hub.host)).code == "image_not_found"


@pytest.mark.parametrize(("status", "code"), [(429, "registry_rate_limited"), (503, "registry_unreachable")])
async def test_a_refusal_has_the_code_that_a_pull_would_have(front: RegistryFront, status: int, code: str) -> None:
    front.refusal = Refusal(status=status, code="ANY", message="not now")

    assert (await refusal(front.host, **PAIR)).code == code


@pytest.mark.parametrize("host", ["127.0.0.1:1", "registry.invalid", "[::1"])
async def test_a_registry_that_is_not_there_is_unreachable(host: str) -> None:
    error = await refusal(host)

    assert (error.code, error.message[: len(host) + 13]) == ("registry_unreachable", f"the registry {host}")


@pytest.fixture
async def private_authority(tmp_path: Path) -> AsyncIterator[tuple[Registry, Certificate, str]]:
    """A registry with TLS whose certificate nobody knows, and the digest of what it has."""
    certificate = await make_certificate(tmp_path)
    async with registry(tmp_path / "tls", tls=certificate) as served:
        yield served, certificate, await served.push(REPOSITORY, packed_image({}))


async def test_a_certificate_that_nobody_trusts_is_refused_also_on_this_machine(
    private_authority: tuple[Registry, Certificate, str],
) -> None:
    served, _, _ = private_authority
    error = await refusal(served.host)

    assert error.code == "registry_unreachable"
    assert "CERTIFICATE_VERIFY_FAILED" in error.message
    assert error.hint.endswith(f"SSL_CERT_FILE, or /etc/docker/certs.d/{served.host}/ca.crt")


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "CURL_CA_BUNDLE"])
async def test_a_certificate_of_an_authority_that_the_operator_names_is_trusted(
    private_authority: tuple[Registry, Certificate, str], variable: str
) -> None:
    served, certificate, pushed = private_authority

    assert await newest_digest(identity(served.host), access(**{variable: str(certificate.certificate)})) == pushed


async def test_an_authority_that_the_engine_trusts_for_this_registry_is_trusted(
    private_authority: tuple[Registry, Certificate, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, certificate, pushed = private_authority
    monkeypatch.setattr(credentials, "_ENGINE_CERTIFICATES", tmp_path / "certs.d")
    folder = tmp_path / "certs.d" / served.host
    folder.mkdir(parents=True)
    (folder / "broken.crt").write_text("no certificate")
    (folder / "ca.crt").write_bytes(certificate.certificate.read_bytes())

    assert await newest_digest(identity(served.host), access()) == pushed


@pytest.mark.parametrize(
    ("header", "scheme", "parameters"),
    [
        ('Bearer realm="https://a/t",service="a, b"', "bearer", {"realm": "https://a/t", "service": "a, b"}),
        (
            'BEARER Realm="https://a/t" , scope="x:y:pull,push"',
            "bearer",
            {"realm": "https://a/t", "scope": "x:y:pull,push"},
        ),
        ("Basic realm=a", "basic", {"realm": "a"}),
        ("Negotiate", "negotiate", {}),
        ("Bearer nonsense", "bearer", {}),
    ],
)
def test_a_challenge_is_read_as_its_grammar_wants(header: str, scheme: str, parameters: dict[str, str]) -> None:
    assert _challenge(header) == (scheme, parameters)


@pytest.mark.parametrize(
    ("realm", "safe"),
    [
        ("https://auth.example.org/token", True),
        ("http://127.0.0.1:5000/token", True),
        ("http://localhost/token", True),
        ("http://auth.example.org/token", False),
        ("http://127.0.0.1.example.org/token", False),
        ("file:///etc/passwd", False),
    ],
)
def test_credentials_go_to_a_realm_over_tls_or_on_this_machine_only(realm: str, safe: bool) -> None:  # noqa: FBT001
    assert _is_safe(realm) is safe
