"""Config templates: folders below ``CONFIGS_DIR`` with a config.yaml and whatever else an agent finds in /configs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workspace_server.errors import InvalidRequestError, TemplateError
from workspace_server.model.container import ContainerFile
from workspace_server.text import plain, shortened
from workspace_server.workspaces.environment import CONFIG_PATH, Origin, parse_config

CONFIG = "config.yaml"
_ORGANIZATIONS = "org-templates"
_LARGEST_CONFIG = 256 * 1024
_LARGEST_FOLDER = 16 * 1024 * 1024
_MOST_FILES = 1000
_WITH_UNIX_LINES = frozenset({".sh", ".py", ".md"})
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigTemplate:
    """A config template: its folder, relative to the root, and what its config.yaml says of the agent."""

    folder: str
    name: str | None
    runtime: str | None
    model: str | None


class ConfigTemplates:
    """The templates of one root, read anew each time. Every method asks the disk; without a root there are none."""

    def __init__(self, root: Path | None) -> None:
        self._root = root and root.resolve()

    def find(self, wanted: str) -> ConfigTemplate | None:
        """The template in that folder, None when there is none. Raises InvalidRequestError for a path that leads out.

        Raises TemplateError for a config.yaml that cannot be used.
        """
        if wanted.startswith("/") or ".." in Path(wanted).parts or "\0" in wanted:
            raise InvalidRequestError("invalid template", code="invalid_template", hint="name a folder of CONFIGS_DIR")
        if self._root is None or not _is_inside(self._root / wanted, self._root):
            return None
        return self._read(self._root / wanted) if (self._root / wanted / CONFIG).is_file() else None

    def named(self, name: str) -> ConfigTemplate | None:
        """The template called like a workspace: its folder, with dashes for spaces, or else its config.yaml."""
        return self._named(self._root, name)

    def of_organization(self, name: str) -> ConfigTemplate | None:
        """The template of that name among those of organizations."""
        return self._named(self._root and self._root / _ORGANIZATIONS, name)

    def of_runtime(self, runtime: str) -> ConfigTemplate | None:
        """The template that goes with a runtime: ``<runtime>-default``, or ``<runtime>``."""
        return self.find(f"{runtime}-default") or self.find(runtime)

    def folders(self) -> list[str]:
        """The names of all, sorted."""
        return [folder.name for folder in self._folders(self._root)]

    def files(self, folder: str) -> Sequence[ContainerFile]:
        """Everything in a template's folder, as it goes into the container; links are followed inside the folder only.

        Raises TemplateError ``config_template_unusable``.
        """
        root = self._root and (self._root / folder)
        if root is None or self.find(folder) is None:
            raise _unusable(folder, "is not there any more")
        files: list[ContainerFile] = []
        size = 0
        for path in sorted(_walk(root)):
            shown = path.relative_to(root).as_posix()
            if not _is_inside(path, root) or not path.is_file():
                raise _unusable(folder, f"has {shown}, which is no file in it")
            size += path.stat().st_size
            if size > _LARGEST_FOLDER or len(files) >= _MOST_FILES:
                raise _unusable(folder, f"has more than {_MOST_FILES} files, or more than 16 MiB")
            mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            files.append(ContainerFile(path=f"{CONFIG_PATH}/{shown}", content=_content(path), mode=mode))
        return files

    def _named(self, root: Path | None, name: str) -> ConfigTemplate | None:
        folders = list(self._folders(root))
        for folder in folders:
            if folder.name == name.lower().replace(" ", "-"):
                return self._read(folder)
        for folder in folders:
            if not folder.name.startswith("ws-"):
                found = self._read(folder)
                if found.name is not None and found.name.lower() == name.lower():
                    return found
        return None

    def _folders(self, root: Path | None) -> Iterator[Path]:
        if root is None or self._root is None or not root.is_dir():
            return
        for folder in sorted(root.iterdir()):
            if _is_inside(folder, self._root) and (folder / CONFIG).is_file():
                yield folder

    def _read(self, folder: Path) -> ConfigTemplate:
        name = folder.relative_to(self._root or folder).as_posix()
        path = folder / CONFIG
        if not _is_inside(path, folder) or path.stat().st_size > _LARGEST_CONFIG:
            raise _unusable(name, f"has a {CONFIG} that is no file in it, or of more than 256 KiB")
        config = parse_config(path.read_bytes(), origin_of(name))
        inner = config.get("runtime_config")
        model = config.get("model") or (inner.get("model") if isinstance(inner, dict) else None)
        return ConfigTemplate(
            folder=name, name=_text(config.get("name")), runtime=_text(config.get("runtime")), model=_text(model)
        )


def unknown_template(wanted: str, known: Sequence[str]) -> InvalidRequestError:
    """The refusal of a template that is not there."""
    hint = f"CONFIGS_DIR has: {', '.join(map(_shown, known))}" if known else "CONFIGS_DIR has none"
    return InvalidRequestError(f"there is no config template {_shown(wanted)}", code="invalid_template", hint=hint)


def origin_of(folder: str) -> Origin:
    """How complaints about a config template's config.yaml call it."""
    return Origin(where=f"the config template {_shown(folder)}", hint=f"correct {CONFIG} in its folder of CONFIGS_DIR")


def _walk(root: Path) -> Iterator[Path]:
    """Everything below that is no folder; a link to one is told of, and not followed."""
    for path in root.iterdir():
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        else:
            yield path


def _content(path: Path) -> bytes:
    """What is in a file; scripts and texts that Windows wrote with the lines that a container expects."""
    content = path.read_bytes()
    return content.replace(b"\r\n", b"\n") if path.suffix in _WITH_UNIX_LINES else content


def _is_inside(path: Path, root: Path) -> bool:
    try:
        return path.resolve(strict=True).is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a link to nowhere, or to itself
        return False


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _shown(folder: str) -> str:
    return shortened(plain(folder), _LONGEST_NAME)


def _unusable(folder: str, what: str) -> TemplateError:
    return TemplateError(
        f"the config template {_shown(folder)} {plain(what)}",
        code="config_template_unusable",
        hint="correct its folder in CONFIGS_DIR, then restart the workspace",
    )
