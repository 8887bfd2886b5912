"""How long a registry wants to be left alone, asked of itself."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from support.registry import PASSWORD, USER, Registry, registry
from support.registry_front import Refusal, RegistryFront, registry_front
from workspace_server.engine import RegistryAccess
from workspace_server.images.identity import PullIdentity
from workspace_server.images.rate_limit import seconds_to_wait
from workspace_server.settings import load_settings

LIMIT = "You have reached your pull rate limit."


@pytest.fixture
async def front(hub: Registry) -> AsyncIterator[RegistryFront]:
    async with registry_front(hub, accounts={USER: PASSWORD}) as served:
        yield served


def identity(host: str) -> PullIdentity:
    return PullIdentity(runtime="hermes", reference=f"{host}/team/workspace-template-hermes:latest", platform=None)


def login() -> RegistryAccess:
    pair = {"MOLECULE_REGISTRY_USER": USER, "MOLECULE_REGISTRY_TOKEN": PASSWORD}
    return RegistryAccess.from_settings(load_settings({"HOME": "/nonexistent", **pair}))


async def asked(front: RegistryFront, **headers: str) -> int | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    front.refusal = Refusal(status=429, code="TOOMANYREQUESTS", message=LIMIT, headers=named)
    return await seconds_to_wait(identity(front.host), login())


@pytest.mark.parametrize(("value", "seconds"), [("37", 37), ("0", 1)])
async def test_it_says_so_in_seconds(front: RegistryFront, value: str, seconds: int) -> None:
    assert await asked(front, Retry_After=value) == seconds


async def test_it_says_so_as_a_date(front: RegistryFront) -> None:
    seconds = await asked(front, Retry_After=format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True))

    assert seconds is not None
    assert 280 <= seconds <= 300


async def test_it_says_so_in_the_header_of_the_draft(front: RegistryFront) -> None:
    assert await asked(front, RateLimit_Reset="60") == 60


@pytest.mark.parametrize("headers", [{}, {"Retry_After": "soon"}])
async def test_it_does_not_say(front: RegistryFront, headers: dict[str, str]) -> None:
    assert await asked(front, **headers) is None


async def test_it_is_asked_which_image_a_tag_names_and_for_none(front: RegistryFront) -> None:
    await asked(front, Retry_After="37")

    assert [(seen.method, seen.path, seen.user) for seen in front.seen] == [
        ("HEAD", "/v2/team/workspace-template-hermes/manifests/latest", None),
        ("GET", "/token", USER),
        ("HEAD", "/v2/team/workspace-template-hermes/manifests/latest", USER),
    ]


async def test_it_does_not_limit_any_more(front: RegistryFront) -> None:
    assert await seconds_to_wait(identity(front.host), login()) is None


async def test_it_wants_a_password(tmp_path: Path) -> None:
    async with registry(tmp_path / "private", private=True) as private:
        assert await seconds_to_wait(identity(private.host), login()) is None


@pytest.mark.parametrize("host", ["127.0.0.1:1", "registry.invalid", "[::1"])
async def test_it_cannot_be_asked_from_here(host: str) -> None:
    assert await seconds_to_wait(identity(host), login()) is None
