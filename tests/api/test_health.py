"""Is the server alive, and can it work."""

from pathlib import Path

import pytest

from support.database import only_sqlite
from support.server import NO_ENGINE, InProcess, in_process

pytestmark = pytest.mark.asyncio(loop_scope="module")

STRANGER = "203.0.113.9"


async def test_the_server_is_alive_while_the_engine_is_away(app: InProcess) -> None:
    response = await app.call("GET", "/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@only_sqlite("the words name the file")
async def test_the_owner_reads_which_part_is_broken_and_what_to_do(app: InProcess) -> None:
    response = await app.call("GET", "/ready")
    assert response.status_code == 503
    assert response.json() == {
        "status": "degraded",
        "instance": app.services.instance,
        "backend": "docker",
        "image_source": "local-build",
        "parts": [
            {
                "name": "engine",
                "status": "broken",
                "detail": f"the container engine at {NO_ENGINE} does not answer",
                "hint": "start it (Linux: sudo systemctl start docker; Docker Desktop: open it) or set DOCKER_HOST",
            },
            {"name": "database", "status": "ok", "detail": str(app.services.settings.data_dir)},
            {
                "name": "gateway_listener",
                "status": "waiting",
                "detail": "the workspace network does not exist yet",
            },
        ],
    }


async def test_everybody_else_reads_the_status_alone(app: InProcess) -> None:
    response = await app.call("GET", "/ready", peer=STRANGER)
    assert (response.status_code, response.json()) == (503, {"status": "degraded"})


async def test_the_source_of_images_is_named(tmp_path: Path) -> None:
    async with in_process(tmp_path / "app", MOLECULE_IMAGE_REGISTRY="registry.example.org/molecule-ai") as app:
        assert (await app.call("GET", "/ready")).json()["image_source"] == "registry"


@pytest.mark.engine
async def test_a_server_that_can_work_is_ready(engine_url: str, workspace_network: None, tmp_path: Path) -> None:
    url = "http://u:hush@host.docker.internal:8080"
    async with in_process(tmp_path / "app", DOCKER_HOST=engine_url, PLATFORM_URL=url) as app:
        response = await app.call("GET", "/ready")
        assert (response.status_code, response.json()["status"]) == (200, "ok")
        assert {part["name"]: part["status"] for part in response.json()["parts"]} == {
            "engine": "ok",
            "database": "ok",
            "gateway_listener": "ok",
        }
        assert "http://***@host.docker.internal:8080" in response.text
        assert (await app.call("GET", "/ready", peer=STRANGER)).json() == {"status": "ok"}
