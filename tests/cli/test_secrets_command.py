"""``workspace-server secrets rotate``, on the data of a server that does not run."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from workspace_server.cli.main import app
from workspace_server.db import open_database
from workspace_server.db.directory import open_data_directory
from workspace_server.errors import SettingsError, UnavailableError
from workspace_server.settings import load_settings
from workspace_server.wiring import rotating_secrets
from workspace_server.wiring.ground import secret_service

KEY, OTHER = "k" * 32, "o" * 32


def rotate(monkeypatch: pytest.MonkeyPatch, data: Path, **variables: str) -> None:
    for name in ("SECRETS_ENCRYPTION_KEY", "SECRETS_ENCRYPTION_KEY_PREVIOUS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"MOLECULE_DATA_DIR": str(data)} | variables).items():
        monkeypatch.setenv(name, value)
    with capture_logs():
        app(["secrets", "rotate"], standalone_mode=False)


async def with_service(data: Path, value: str | None = None, **variables: str) -> str:
    """Save a secret, or read it, as a server with these keys would."""
    settings = load_settings({"MOLECULE_DATA_DIR": str(data), "HOME": str(data), **variables})
    with open_data_directory(settings.data_dir) as directory, capture_logs():
        async with open_database(directory.database) as database:
            service = secret_service(settings, directory, database)
            if value is not None:
                await service.put(None, "A", value)
            return (await service.environment("nobody"))["A"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def keys(data: Path) -> list[str]:
    return (data / "encryption_keys").read_text().split()


def test_a_key_of_the_data_directory_is_replaced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: Path
) -> None:
    asyncio.run(with_service(data, "value"))
    (before,) = keys(data)
    rotate(monkeypatch, data)
    (after,) = keys(data)

    assert (before != after, asyncio.run(with_service(data))) == (True, "value")
    assert capsys.readouterr().out == "1 secrets were sealed with the new key\n"


def test_the_keys_of_the_data_directory_are_private(data: Path) -> None:
    asyncio.run(with_service(data, "value"))

    assert (data / "encryption_keys").stat().st_mode & 0o777 == 0o600


def test_a_key_of_the_environment_is_replaced_by_another(monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    asyncio.run(with_service(data, "value", SECRETS_ENCRYPTION_KEY=KEY))
    rotate(monkeypatch, data, SECRETS_ENCRYPTION_KEY=OTHER, SECRETS_ENCRYPTION_KEY_PREVIOUS=KEY)

    assert asyncio.run(with_service(data, SECRETS_ENCRYPTION_KEY=OTHER)) == "value"
    with pytest.raises(UnavailableError):
        asyncio.run(with_service(data, SECRETS_ENCRYPTION_KEY=KEY))


def test_the_data_directorys_key_is_replaced_by_one_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    asyncio.run(with_service(data, "value"))
    rotate(monkeypatch, data, SECRETS_ENCRYPTION_KEY=KEY)
    (data / "encryption_keys").unlink()

    assert asyncio.run(with_service(data, SECRETS_ENCRYPTION_KEY=KEY)) == "value"


def test_after_a_rotation_that_died_half_way_every_secret_can_be_read(data: Path) -> None:
    """The new key was made, and nothing was sealed with it yet."""

    async def die() -> None:
        settings = load_settings({"MOLECULE_DATA_DIR": str(data), "HOME": str(data)})
        async with rotating_secrets(settings):
            raise KeyboardInterrupt

    asyncio.run(with_service(data, "value"))
    with capture_logs(), pytest.raises(KeyboardInterrupt):
        asyncio.run(die())

    assert (len(keys(data)), asyncio.run(with_service(data))) == (2, "value")


def test_a_damaged_key_is_said(data: Path) -> None:
    asyncio.run(with_service(data, "value"))
    (data / "encryption_keys").write_text("half a k")

    with pytest.raises(SettingsError, match="is neither 32 characters nor base64 of 32 bytes"):
        asyncio.run(with_service(data))
