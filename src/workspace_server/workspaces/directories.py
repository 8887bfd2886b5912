"""Which directories of this machine a workspace may have as its ``/workspace``: none but those below the roots."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workspace_server.errors import InvalidRequestError
from workspace_server.model.workspace import WorkspaceAccess
from workspace_server.settings import Settings

_OF_THE_SYSTEM = ("/etc", "/var", "/proc", "/sys", "/dev", "/boot", "/sbin", "/bin", "/lib", "/usr")
_REFUSED = "invalid workspace directory"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceDirectories:
    """``roots``: what may be handed out lies below one of them. ``private``: what never is, nor anything around it."""

    roots: Sequence[Path]
    private: Sequence[Path]

    @classmethod
    def from_settings(cls, settings: Settings) -> "WorkspaceDirectories":
        """As the operator set them; the owner's keys and this server's own data are private whatever is set."""
        home = settings.home
        private = (settings.data_dir, settings.build_cache, home / ".ssh", home / ".docker")
        return cls(roots=settings.workspace_roots or (home,), private=private)

    def check(self, wanted: str) -> Path:
        """The directory, its symbolic links resolved. Raises InvalidRequestError ``workspace_dir_refused``.

        The disk is asked: it must exist, since the engine makes none.
        """
        path = Path(wanted)
        if not path.is_absolute() or ".." in wanted or "\0" in wanted:
            raise _refusal("it must be an absolute path without ..")
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError):  # not there, not ours to look at, or a link to itself
            raise _refusal("there is no such directory") from None
        if not real.is_dir():
            raise _refusal("it is no directory")
        self._check_place(path, real)
        return real

    def _check_place(self, path: Path, real: Path) -> None:
        if any(each.is_relative_to(system) for each in (path, real) for system in _OF_THE_SYSTEM):
            raise _refusal("it belongs to the system")
        if not any(real.is_relative_to(root.resolve()) for root in self.roots):
            shown = ", ".join(str(root) for root in self.roots)
            raise _refusal(f"it must be below {shown}; MOLECULE_WORKSPACE_ROOTS sets where")
        for each in self.private:
            private = each.resolve()
            if real.is_relative_to(private) or private.is_relative_to(real):
                raise _refusal("keys or this server's own data lie there")


def check_access(wanted: str, *, has_directory: bool) -> WorkspaceAccess:
    """What a workspace may do with its directory: all, unless it says otherwise.

    Raises InvalidRequestError ``invalid_workspace_access`` for what is no access, or is one to no directory.
    """
    if not wanted:
        return WorkspaceAccess.READ_WRITE if has_directory else WorkspaceAccess.NONE
    if wanted not in set(WorkspaceAccess) or (wanted != WorkspaceAccess.NONE and not has_directory):
        hint = f"one of {', '.join(WorkspaceAccess)}; all but none need workspace_dir"
        raise InvalidRequestError("invalid workspace access", code="invalid_workspace_access", hint=hint)
    return WorkspaceAccess(wanted)


def _refusal(hint: str) -> InvalidRequestError:
    return InvalidRequestError(_REFUSED, code="workspace_dir_refused", hint=hint)
