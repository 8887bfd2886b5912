"""The example's image on a real engine, under the conditions of tier 1. Needs no network: not to build, not to run."""

import io
import json
import os
import subprocess
import tarfile
import threading
import time
import uuid
from collections.abc import Iterator

import pytest

from .echo_support import ECHO, PATIENCE, TOKEN, message, text

pytestmark = pytest.mark.engine

NEW_TOKEN = "second-token-b7Qe_x-4"

PLATFORM = f"""
import http.server

class Register(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.path, self.headers["Authorization"])
        body = b'{{"status":"registered","auth_token":"{NEW_TOKEN}"}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.HTTPServer(("127.0.0.1", 8080), Register).handle_request()
"""
"""A workspace server that answers one request. It runs in the container: there any engine lets the agent reach it."""

CALL = """
import sys, urllib.request
path, body = sys.argv[1], sys.argv[2].encode() or None
print(urllib.request.urlopen("http://127.0.0.1:8000" + path, body, timeout=10).read().decode())
"""


def docker(*arguments: str, stdin: bytes = b"") -> str:
    """Run the docker command line and return what it prints."""
    done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr.decode()}"
    return done.stdout.decode().strip()


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    if problem := os.environ.get("MOLECULE_TEST_ENGINE_PROBLEM"):
        pytest.fail(problem)
    name = f"echo-example-test:{uuid.uuid4().hex}"
    docker("build", "--network", "none", "--tag", name, str(ECHO))
    yield name
    docker("image", "rm", name)


@pytest.fixture
def container(image: str) -> Iterator[str]:
    """Create the container as the server does for tier 1, put its files in, start it, and wait until it listens."""
    container = docker(
        "create",
        "--read-only",
        *("--tmpfs", "/tmp:rw,noexec,nosuid,size=64m"),
        *("--volume", "/configs"),
        *("--network", "none"),
        *("--env", "WORKSPACE_ID=ws-1"),
        *("--env", "WORKSPACE_CONFIG_PATH=/configs"),
        *("--env", "PLATFORM_URL=http://127.0.0.1:8080"),
        *("--env", "PYTHONPATH=/app"),
        image,
    )
    try:
        docker("cp", "-", f"{container}:/configs", stdin=configs_archive())
        docker("start", container)
        wait_for_log(container, "listening on port 8000")
        yield container
    finally:
        docker("rm", "--force", "--volumes", container)


def configs_archive() -> bytes:
    """config.yaml and the token, owned by uid 1000, as the server copies them into the volume."""
    files = {"config.yaml": (ECHO / "config.yaml").read_bytes(), ".auth_token": TOKEN.encode()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            file = tarfile.TarInfo(name)
            file.size, file.mode, file.uid, file.gid = len(content), 0o600, 1000, 1000
            archive.addfile(file, io.BytesIO(content))
    return buffer.getvalue()


def wait_for_log(container: str, words: str) -> None:
    """Follow the log until the words appear; fail with all of it if they do not."""
    command = ["docker", "logs", "--follow", container]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as follower:
        assert follower.stdout is not None
        limit = threading.Timer(PATIENCE, follower.kill)
        limit.start()
        seen = []
        try:
            while words not in (line := follower.stdout.readline()):
                seen.append(line)
                assert line, f"{words!r} not logged: {''.join(seen)}"
        finally:
            limit.cancel()
            follower.kill()


def call(container: str, path: str, body: object = None) -> str:
    """Ask the agent from inside its container."""
    return docker("exec", container, "python3", "-c", CALL, path, json.dumps(body) if body else "")


def test_runs_as_uid_1000_from_its_first_process_on(container: str) -> None:
    assert docker("exec", container, "grep", "Uid", "/proc/1/status") == "Uid:\t1000\t1000\t1000\t1000"


def test_answers_on_a_read_only_root(container: str) -> None:
    answer = json.loads(call(container, "/", message(text("hello"))))

    assert answer["result"]["parts"] == [text("hello")]


def test_gives_its_card_with_the_address_of_its_container(container: str) -> None:
    card = json.loads(call(container, "/.well-known/agent-card.json"))

    assert card["url"] == f"http://{container[:12]}:8000"


def test_registers_with_the_token_of_its_volume(container: str) -> None:
    assert docker("exec", container, "python3", "-c", PLATFORM) == f"/registry/register Bearer {TOKEN}"


def test_keeps_a_new_token_in_its_volume_for_its_own_user_only(container: str) -> None:
    docker("exec", container, "python3", "-c", PLATFORM)
    wait_for_log(container, "the server sent a new token")

    kept = docker("exec", container, "sh", "-c", "stat -c '%a %u' /configs/.auth_token; cat /configs/.auth_token")
    assert kept.split() == ["600", "1000", NEW_TOKEN]


def test_writes_nothing_but_its_token(container: str) -> None:
    call(container, "/", message(text("hello")))
    docker("exec", container, "python3", "-c", PLATFORM)
    wait_for_log(container, "the server sent a new token")

    written = docker("exec", container, "find", "/tmp", "/configs", "-type", "f")
    assert sorted(written.split()) == ["/configs/.auth_token", "/configs/config.yaml"]


def test_stops_in_less_than_two_seconds_and_with_code_0(container: str) -> None:
    before = time.monotonic()
    docker("stop", container)
    elapsed = time.monotonic() - before

    assert elapsed < 2
    assert docker("inspect", "--format", "{{.State.ExitCode}}", container) == "0"


def test_contains_only_what_runs(container: str) -> None:
    kept = docker("exec", container, "find", "/app", "-type", "f", "-not", "-name", "*.py")

    assert kept == ""


def test_keeps_no_secret_in_its_log(container: str) -> None:
    docker("exec", container, "python3", "-c", PLATFORM)
    wait_for_log(container, "registered as ws-1")

    log = docker("logs", container)
    assert (TOKEN in log, NEW_TOKEN in log) == (False, False)
