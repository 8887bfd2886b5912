"""What a template must hold to be built, and what workspaces read of it."""

from contextlib import suppress
from pathlib import Path

from workspace_server.concurrency import Deadline
from workspace_server.errors import TemplateError
from workspace_server.git import Checkout, CheckoutStore
from workspace_server.runtimes import Template

_KIB = 1024
_LARGEST_DOCKERFILE = 1024 * _KIB
_LARGEST_CONFIG = 256 * _KIB  # it is read as YAML, which takes a second per 100 KiB
_FETCH_SECONDS = 600


class TemplateFiles:
    """The files of templates' commits. What workspaces read is kept: a commit's files never change."""

    def __init__(self, checkouts: CheckoutStore) -> None:
        self._checkouts = checkouts
        self._configs: dict[str, tuple[str, bytes | None]] = {}  # by source, of one commit each

    async def checkout(self, template: Template, commit: str, deadline: Deadline) -> Checkout:
        """The tree of ``commit``, verified at this moment; see ``CheckoutStore``."""
        checkout = await self._checkouts.checkout(template, commit, deadline)
        with suppress(TemplateError):  # told to whoever asks for it
            self._keep(template, checkout)
        return checkout

    async def config(self, template: Template, commit: str) -> bytes | None:
        """The ``config.yaml`` of ``commit``, None when it has none. Raises like ``checkout``, and TemplateError."""
        kept = self._configs.get(template.url.source)
        if kept is not None and kept[0] == commit:
            return kept[1]
        return self._keep(template, await self._checkouts.checkout(template, commit, Deadline(_FETCH_SECONDS)))

    def _keep(self, template: Template, checkout: Checkout) -> bytes | None:
        content = read_config(checkout.path, template, checkout.commit)
        self._configs[template.url.source] = checkout.commit, content
        return content


def read_dockerfile(tree: Path, template: Template, commit: str) -> bytes:
    """The Dockerfile at the root of a checkout; raises TemplateError ``template_malformed``."""
    content = _read(tree, "Dockerfile", _LARGEST_DOCKERFILE, template, commit)
    if content is None:
        raise _malformed("has no Dockerfile at its root", template, commit)
    return content


def read_config(tree: Path, template: Template, commit: str) -> bytes | None:
    """The config.yaml at the root of a checkout, None when there is none; raises TemplateError."""
    return _read(tree, "config.yaml", _LARGEST_CONFIG, template, commit)


def _read(tree: Path, name: str, largest: int, template: Template, commit: str) -> bytes | None:
    path = tree / name
    if not path.is_symlink() and not path.exists():
        return None
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):  # a link to nowhere, or to itself
        real = None
    if real is None or not real.is_relative_to(tree.resolve()) or not real.is_file():
        raise _malformed(f"has a {name} that is not a regular file inside it", template, commit)
    if real.stat().st_size > largest:
        raise _malformed(f"has a {name} of more than {largest // _KIB} KiB", template, commit)
    return real.read_bytes()


def _malformed(what: str, template: Template, commit: str) -> TemplateError:
    return TemplateError(
        f"local-build mode: the template of {template.runtime}, {template.url} at commit {commit[:12]}, {what}",
        code="template_malformed",
        hint="correct the template's repository and commit it; examples/echo in this project is a complete template",
    )
