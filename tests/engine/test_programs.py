"""Which builder is chosen among the command lines that are here."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from workspace_server.engine import EngineAddress
from workspace_server.engine.programs import DockerCli, Reach, Survey, best, docker_programs, survey, version_of
from workspace_server.errors import UnavailableError
from workspace_server.model.build import BuilderKind

OLD_ENGINE = Reach(oldest=(1, 12), newest=(1, 41), platform="linux/amd64", here=False)
NEW_ENGINE = Reach(oldest=(1, 44), newest=(1, 51), platform="linux/amd64", here=False)

CLI_20 = DockerCli(path=Path("/a/docker"), version=(20, 10, 24), api=(1, 41), buildx=None)
CLI_28 = DockerCli(path=Path("/b/docker"), version=(28, 2, 2), api=(1, 50), buildx=None)
CLI_18 = DockerCli(path=Path("/c/docker"), version=(18, 6, 1), api=(1, 38), buildx=None)
PLUGIN = (Path("/d/docker-buildx"), (0, 13, 1))
BROKEN_PLUGIN = """\
#!/bin/sh
metadata='{"SchemaVersion": "0.1.0", "Vendor": "nobody", "Version": "1.2.3"}'
[ "$1" = docker-cli-plugin-metadata ] && echo "$metadata" && exit
echo 1.2.3
exit 1
"""


def found(
    clis: Sequence[DockerCli],
    reach: Reach = OLD_ENGINE,
    plugins: Sequence[tuple[Path, tuple[int, ...]]] = (),
) -> Survey:
    return Survey(clis=clis, plugins=plugins, reach=reach)


def program(directory: Path, text: str = "#!/bin/sh\n") -> Path:
    directory.mkdir()
    path = directory / "docker"
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("survey", "description"),
    [
        (found([CLI_28, CLI_20], plugins=[PLUGIN]), "buildx 0.13.1"),
        (found([CLI_20, CLI_28]), "docker 20.10.24 BuildKit"),
        (found([CLI_28, CLI_20]), "docker 20.10.24 BuildKit"),
        (found([CLI_28]), "docker 28.2.2 classic builder"),
        (found([CLI_18, CLI_28]), "docker 18.6.1 classic builder"),
        (found([CLI_20, CLI_28], NEW_ENGINE), "docker 28.2.2 classic builder"),
        (
            found([CLI_20], Reach(oldest=(1, 12), newest=(1, 38), platform="linux/amd64", here=False)),
            "docker 20.10.24 classic builder",
        ),
    ],
)
def test_the_best_builder_that_reaches_the_engine_is_chosen(survey: Survey, description: str) -> None:
    assert best(survey).description == description


def test_without_any_command_line_its_installation_is_explained() -> None:
    with pytest.raises(UnavailableError) as caught:
        best(found([]))

    assert caught.value.as_dict() == {
        "error": "docker's command line is not installed, and it builds the images",
        "code": "tool_missing",
        "hint": "install it: apt-get install docker.io (Debian, Ubuntu), dnf install docker-cli (Fedora), apk add"
        " docker-cli (Alpine), brew install docker (macOS)",
    }


def test_a_command_line_that_is_too_old_for_the_engine_is_named() -> None:
    with pytest.raises(
        UnavailableError, match=r"/a/docker is too old for the engine: it speaks the API up to 1\.41 only"
    ):
        best(found([CLI_20], NEW_ENGINE))


def test_programs_are_found_in_the_order_of_the_path(tmp_path: Path) -> None:
    first, second = program(tmp_path / "first"), program(tmp_path / "second")

    assert docker_programs(f"{second.parent}:{tmp_path}:{first.parent}") == [second, first]


def test_a_program_with_two_names_is_one(tmp_path: Path) -> None:
    one = program(tmp_path / "one")
    (tmp_path / "other").symlink_to(one.parent)

    assert docker_programs(f"{one.parent}:{tmp_path / 'other'}") == [one]


def test_what_cannot_be_run_is_no_program(tmp_path: Path) -> None:
    program(tmp_path / "text").chmod(0o644)
    (tmp_path / "directory" / "docker").mkdir(parents=True)

    assert docker_programs(f"{tmp_path / 'text'}:{tmp_path / 'directory'}::/does/not/exist") == []


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("20.10.24+dfsg1", (20, 10, 24)),
        ("github.com/docker/buildx v0.14.0-desktop.1 abc", (0, 14, 0)),
        ("1.41", (1, 41)),
        ("dev", ()),
        ("None", ()),
    ],
)
def test_a_version_is_the_first_number_with_a_dot(text: str, version: tuple[int, ...]) -> None:
    assert version_of(text) == version


@pytest.mark.engine
async def test_the_command_lines_here_say_what_they_are(address: EngineAddress, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **address.cli_environment}

    seen = await survey(environment, address)

    assert [cli.path for cli in seen.clis] == docker_programs(environment["PATH"])
    assert all(cli.version >= (18,) and cli.api >= (1, 38) for cli in seen.clis)


@pytest.mark.engine
async def test_a_program_that_is_only_called_docker_is_left_out(address: EngineAddress, tmp_path: Path) -> None:
    impostor = program(tmp_path / "bin", "#!/bin/sh\necho '[\"hello\"]'\n")

    seen = await survey({"PATH": str(impostor.parent), "HOME": str(tmp_path)}, address)

    assert seen.clis == []


@pytest.mark.engine
async def test_a_plug_in_that_does_not_run_is_left_out(address: EngineAddress, tmp_path: Path) -> None:
    plugins = tmp_path / ".docker" / "cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-buildx").write_text(BROKEN_PLUGIN)
    (plugins / "docker-buildx").chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **address.cli_environment}

    seen = await survey(environment, address)

    assert (len(seen.clis) > 0, plugins / "docker-buildx" in dict(seen.plugins)) == (True, False)


def test_kinds_are_tried_best_first() -> None:
    assert list(BuilderKind) == [BuilderKind.BUILDX, BuilderKind.BUILDKIT, BuilderKind.CLASSIC]
