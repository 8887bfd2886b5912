"""Config templates: which one is meant, what is in it, and what is none."""

from pathlib import Path

import pytest

from workspace_server.errors import InvalidRequestError, TemplateError
from workspace_server.workspaces.templates import ConfigTemplate, ConfigTemplates

RESEARCHER = "name: 'The Researcher' # quoted\nruntime: hermes\nruntime_config: {model: m1}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "configs"
    for folder, config in {
        "claude-code-default": "name: Claude\nruntime: claude-code\nmodel: sonnet\n",
        "hermes": "runtime: hermes\n",
        "research": RESEARCHER,
        "ws-0123": "name: Left over\n",
        "org-templates/ada": "name: Ada\n",
        "empty": None,
    }.items():
        (root / folder).mkdir(parents=True)
        if config is not None:
            (root / folder / "config.yaml").write_text(config)
    return root


@pytest.fixture
def templates(root: Path) -> ConfigTemplates:
    return ConfigTemplates(root)


def folder(found: ConfigTemplate | None) -> str | None:
    return found and found.folder


def test_a_template_says_its_runtime_and_its_model(templates: ConfigTemplates) -> None:
    assert templates.find("research") == ConfigTemplate(
        folder="research", name="The Researcher", runtime="hermes", model="m1"
    )


@pytest.mark.parametrize("wanted", ["nope", "empty", "research/config.yaml"])
def test_what_has_no_config_is_no_template(templates: ConfigTemplates, wanted: str) -> None:
    assert templates.find(wanted) is None


@pytest.mark.parametrize("wanted", ["/etc", "..", "../elsewhere", "research/../../elsewhere", "a\0b"])
def test_a_path_that_leads_out_is_refused(templates: ConfigTemplates, wanted: str) -> None:
    with pytest.raises(InvalidRequestError, match="invalid template"):
        templates.find(wanted)


def test_a_link_that_leads_out_is_no_template(root: Path, templates: ConfigTemplates, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "config.yaml").write_text("name: outside\n")
    (root / "link").symlink_to(tmp_path / "outside")

    assert (templates.find("link"), templates.named("outside"), "link" in templates.folders()) == (None, None, False)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Research", "research"),
        ("Claude Code Default", "claude-code-default"),
        ("the researcher", "research"),
        ("left over", None),
        ("Ada", None),
        ("..", None),
        ("nobody", None),
    ],
)
def test_a_name_matches_a_folder_or_what_its_config_says(
    templates: ConfigTemplates, name: str, found: str | None
) -> None:
    assert folder(templates.named(name)) == found


def test_an_organizations_templates_are_their_own(templates: ConfigTemplates) -> None:
    assert (folder(templates.of_organization("ADA")), templates.of_organization("research")) == (
        "org-templates/ada",
        None,
    )


@pytest.mark.parametrize(
    ("runtime", "found"), [("claude-code", "claude-code-default"), ("hermes", "hermes"), ("codex", None)]
)
def test_a_runtime_has_the_template_that_is_called_like_it(
    templates: ConfigTemplates, runtime: str, found: str | None
) -> None:
    assert folder(templates.of_runtime(runtime)) == found


@pytest.mark.parametrize("root", [None, Path("/nonexistent")])
def test_without_a_root_there_are_none(root: Path | None) -> None:
    none = ConfigTemplates(root)

    assert (none.find("a"), none.named("a"), none.of_organization("a"), none.folders()) == (None, None, None, [])


def test_the_files_are_all_in_the_folder_with_the_lines_that_a_container_expects(
    root: Path, templates: ConfigTemplates
) -> None:
    research = root / "research"
    (research / "skills/read").mkdir(parents=True)
    (research / "skills/read/SKILL.md").write_bytes(b"one\r\ntwo\r\n")
    (research / "run.sh").write_bytes(b"#!/bin/sh\r\n")
    (research / "run.sh").chmod(0o700)
    (research / "data.bin").write_bytes(b"\r\n")
    (research / "also.md").symlink_to("skills/read/SKILL.md")
    files = {file.path: (file.content, file.mode) for file in templates.files("research")}

    assert files == {
        "/configs/config.yaml": (RESEARCHER.encode(), 0o644),
        "/configs/skills/read/SKILL.md": (b"one\ntwo\n", 0o644),
        "/configs/run.sh": (b"#!/bin/sh\n", 0o755),
        "/configs/data.bin": (b"\r\n", 0o644),
        "/configs/also.md": (b"one\ntwo\n", 0o644),
    }


@pytest.mark.parametrize("target", ["/etc/passwd", "../hermes/config.yaml", "nowhere", "link", "/"])
def test_a_link_out_of_the_folder_makes_it_unusable(root: Path, templates: ConfigTemplates, target: str) -> None:
    (root / "research" / "link").symlink_to(target)

    with pytest.raises(TemplateError, match="has link, which is no file in it") as caught:
        templates.files("research")
    assert caught.value.code == "config_template_unusable"


def test_too_much_in_a_folder_makes_it_unusable(root: Path, templates: ConfigTemplates) -> None:
    for number in range(1001):
        (root / "research" / str(number)).touch()

    with pytest.raises(TemplateError, match="more than 1000 files"):
        templates.files("research")


def test_a_folder_that_is_gone_is_said_to_be(templates: ConfigTemplates) -> None:
    with pytest.raises(TemplateError, match="the config template gone is not there any more"):
        templates.files("gone")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("a: [", "config.yaml in the config template bad is not valid YAML"),
        ("- a", "config.yaml in the config template bad is not a mapping"),
        ("a: " + "x" * 300_000, "the config template bad has a config.yaml that is no file in it, or of more than"),
    ],
)
def test_a_config_that_cannot_be_used_is_the_templates_fault(
    root: Path, templates: ConfigTemplates, config: str, words: str
) -> None:
    (root / "bad").mkdir()
    (root / "bad" / "config.yaml").write_text(config)

    with pytest.raises(TemplateError, match=words):
        templates.find("bad")
