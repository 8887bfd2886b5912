"""Which directories of this machine a workspace may have."""

from pathlib import Path

import pytest

from workspace_server.errors import InvalidRequestError
from workspace_server.model.workspace import WorkspaceAccess
from workspace_server.settings import load_settings
from workspace_server.workspaces.directories import WorkspaceDirectories, check_access


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a project, keys, and this server's data."""
    home = tmp_path / "home"
    for name in ("project", ".ssh", ".docker", ".local/share/molecule", ".cache/molecule/workspace-template-build"):
        (home / name).mkdir(parents=True)
    (home / "file").touch()
    (tmp_path / "elsewhere").mkdir()
    return home


def directories(home: Path, **variables: str) -> WorkspaceDirectories:
    return WorkspaceDirectories.from_settings(load_settings({"HOME": str(home), **variables}))


def refusal(home: Path, wanted: str, **variables: str) -> tuple[str, str]:
    with pytest.raises(InvalidRequestError, match="invalid workspace directory") as caught:
        directories(home, **variables).check(wanted)
    return caught.value.code, caught.value.hint


def test_what_lies_in_the_home_directory_may_be_had(home: Path) -> None:
    assert directories(home).check(str(home / "project")) == home / "project"


def test_a_link_is_what_it_leads_to(home: Path) -> None:
    (home / "link").symlink_to(home / "project")

    assert directories(home).check(str(home / "link")) == home / "project"


def test_the_operator_says_where_they_lie(home: Path) -> None:
    roots = {"MOLECULE_WORKSPACE_ROOTS": f"{home}/nowhere:{home.parent}/elsewhere"}

    assert directories(home, **roots).check(str(home.parent / "elsewhere")) == home.parent / "elsewhere"
    assert refusal(home, str(home / "project"), **roots)[1].startswith(f"it must be below {home}/nowhere, ")


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("project", "it must be an absolute path without .."),
        ("", "it must be an absolute path without .."),
        ("{home}/../elsewhere", "it must be an absolute path without .."),
        ("{home}/project\0", "it must be an absolute path without .."),
        ("{home}/nope", "there is no such directory"),
        ("{home}/loop", "there is no such directory"),
        ("{home}/file", "it is no directory"),
        ("{home}/out", "it must be below {home}; MOLECULE_WORKSPACE_ROOTS sets where"),
        ("{home}/out-of-all", "it belongs to the system"),
        ("/", "it must be below {home}; MOLECULE_WORKSPACE_ROOTS sets where"),
    ],
)
def test_everything_else_is_refused_with_the_reason(home: Path, wanted: str, hint: str) -> None:
    (home / "out").symlink_to(home.parent / "elsewhere")
    (home / "out-of-all").symlink_to("/usr")
    (home / "loop").symlink_to(home / "loop")

    assert refusal(home, wanted.format(home=home)) == ("workspace_dir_refused", hint.format(home=home))


@pytest.mark.parametrize(
    "name",
    ["", ".ssh", ".docker", ".local", ".local/share/molecule", ".cache", ".cache/molecule/workspace-template-build"],
)
def test_nobody_gets_keys_or_the_servers_data_nor_anything_around_them(home: Path, name: str) -> None:
    assert refusal(home, str(home / name))[1] == "keys or this server's own data lie there"


def test_a_link_into_the_keys_is_refused(home: Path) -> None:
    (home / "harmless").symlink_to(home / ".ssh")

    assert refusal(home, str(home / "harmless"))[1] == "keys or this server's own data lie there"


@pytest.mark.parametrize(
    "system", ["/etc", "/var", "/proc", "/sys", "/dev", "/boot", "/sbin", "/bin", "/lib", "/usr", "/usr/share"]
)
def test_the_systems_own_is_refused_whatever_the_roots_are(home: Path, system: str) -> None:
    if Path(system).is_dir():
        assert refusal(home, system, MOLECULE_WORKSPACE_ROOTS="/")[1] == "it belongs to the system"


@pytest.mark.parametrize(
    ("wanted", "has_directory", "access"),
    [
        ("", False, WorkspaceAccess.NONE),
        ("", True, WorkspaceAccess.READ_WRITE),
        ("none", False, WorkspaceAccess.NONE),
        ("none", True, WorkspaceAccess.NONE),
        ("read_only", True, WorkspaceAccess.READ_ONLY),
        ("read_write", True, WorkspaceAccess.READ_WRITE),
    ],
)
def test_a_directory_without_a_word_may_be_written_to(
    wanted: str, access: WorkspaceAccess, *, has_directory: bool
) -> None:
    assert check_access(wanted, has_directory=has_directory) is access


@pytest.mark.parametrize(("wanted", "has_directory"), [("read_only", False), ("read_write", False), ("rw", True)])
def test_an_access_to_nothing_is_refused(wanted: str, *, has_directory: bool) -> None:
    with pytest.raises(InvalidRequestError, match="invalid workspace access") as caught:
        check_access(wanted, has_directory=has_directory)

    assert caught.value.code == "invalid_workspace_access"
