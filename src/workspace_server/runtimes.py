"""The one table of runtimes. Every list of runtimes that is shown anywhere comes from here."""

from collections.abc import Mapping
from dataclasses import dataclass

from workspace_server.errors import InvalidRequestError, SettingsError
from workspace_server.model.repository import DEFAULT_TEMPLATE_PREFIX, RepositoryUrl
from workspace_server.settings import Settings
from workspace_server.text import plain, shortened

_LONGEST_NAME = 60

DEFAULT = "langgraph"
BUILT_IN = ("autogen", "claude-code", "codex", "crewai", "deepagents", "gemini-cli", "hermes", "langgraph", "openclaw")


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """Where a runtime's template repository is, and which ref of it to use (None: HEAD)."""

    runtime: str
    url: RepositoryUrl
    ref: str | None
    is_default: bool


class Runtimes:
    """The runtimes this server knows: the built-in ones and those its operator added."""

    def __init__(self, templates: Mapping[str, Template]) -> None:
        self._templates = templates

    @classmethod
    def from_settings(cls, settings: Settings) -> "Runtimes":
        """Make the table; raises SettingsError when a per-runtime variable names an unknown runtime."""
        names = sorted({*BUILT_IN, *settings.extra_runtimes})
        for family, named in (("REPO", settings.template_repositories), ("REF", settings.template_refs)):
            for name in named.keys() - set(names):
                variable = f"MOLECULE_TEMPLATE_{family}_{name.upper().replace('-', '_')}"
                raise SettingsError(
                    f"{variable} is set, but there is no runtime {name}",
                    hint=f"known runtimes: {', '.join(names)}; MOLECULE_EXTRA_RUNTIMES={name} adds it",
                )
        return cls({name: _template(name, settings) for name in names})

    @property
    def names(self) -> list[str]:
        """The names, sorted."""
        return sorted(self._templates)

    def check(self, name: str | None) -> str:
        """The canonical name: None or empty is the default, ``x-default`` is ``x``. Raises InvalidRequestError."""
        canonical = (name or DEFAULT).removesuffix("-default")
        if canonical not in self._templates:
            raise InvalidRequestError(
                f"unknown runtime: {shortened(plain(canonical), _LONGEST_NAME)}",
                code="unknown_runtime",
                hint=f"known runtimes: {', '.join(self.names)}",
            )
        return canonical

    def template(self, name: str) -> Template:
        """The template of a runtime that ``check`` accepted."""
        return self._templates[name]


def _template(name: str, settings: Settings) -> Template:
    own = settings.template_repositories.get(name)
    return Template(
        runtime=name,
        url=own or settings.template_prefix.joined(name),
        ref=settings.template_refs.get(name),
        is_default=own is None and settings.template_prefix.text == DEFAULT_TEMPLATE_PREFIX,
    )
