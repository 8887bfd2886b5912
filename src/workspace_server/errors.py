"""Every error this program raises on purpose, by whose fault it is.

::

    WorkspaceServerError            500
    ├── InvalidRequestError         400   the caller must change the request
    ├── NotFoundError               404
    ├── ConflictError               409
    ├── AuthError                   401   who is calling is not known
    │   └── ForbiddenError          403   who is calling may not
    ├── SettingsError               -     a setting is wrong; the server does not start
    ├── TemplateError               409   the template's author must change the template
    ├── SourceError                 502   the Git host, the registry or the control plane is at fault, or refuses
    ├── UnavailableError            503   something this server depends on is away
    └── DeadlineError               504   an operation took longer than it may

The family decides the status code, whether a retry can help, and how the message begins. The ``code`` names the
cause; it is stable and documented. A message never holds a secret or a raw text of a foreign library.
"""

from typing import ClassVar

from workspace_server.error_codes import ErrorCode


class WorkspaceServerError(Exception):
    """Base of the tree: what happened (``message``), under which stable name (``code``), what to do (``hint``)."""

    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, code: ErrorCode, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message

    def as_dict(self) -> dict[str, str]:
        """The error object of the wire: ``error``, ``code`` and, when there is one, ``hint``."""
        body = {"error": self.message, "code": self.code}
        return body | {"hint": self.hint} if self.hint else body


class InvalidRequestError(WorkspaceServerError):
    """The caller must change the request."""

    status = 400

    def __init__(self, message: str, *, code: ErrorCode = "invalid_request", hint: str = "") -> None:
        super().__init__(message, code=code, hint=hint)


class NotFoundError(WorkspaceServerError):
    """What was asked for does not exist."""

    status = 404

    def __init__(self, message: str, *, code: ErrorCode = "not_found", hint: str = "") -> None:
        super().__init__(message, code=code, hint=hint)


class ConflictError(WorkspaceServerError):
    """The request does not fit the present state of its object."""

    status = 409

    def __init__(self, message: str, *, code: ErrorCode = "conflict", hint: str = "") -> None:
        super().__init__(message, code=code, hint=hint)


class AuthError(WorkspaceServerError):
    """Who is calling is not known, or not proved."""

    status = 401

    def __init__(self, message: str, *, code: ErrorCode = "unauthenticated", hint: str = "") -> None:
        super().__init__(message, code=code, hint=hint)


class ForbiddenError(AuthError):
    """Who is calling is known, and may not do this."""

    status = 403

    def __init__(self, message: str, *, code: ErrorCode = "forbidden", hint: str = "") -> None:
        super().__init__(message, code=code, hint=hint)


class SettingsError(WorkspaceServerError):
    """A setting is wrong: the message names the variable and its value, the hint shows a valid one."""

    def __init__(self, message: str, *, code: ErrorCode = "invalid_setting", hint: str = "") -> None:
        super().__init__(message, code=code, hint=hint)


class TemplateError(WorkspaceServerError):
    """The template is at fault. Never retried on its own: the next commit decides."""

    status = 409


class SourceError(WorkspaceServerError):
    """The Git host, the registry or the control plane is at fault, or refuses. The message says which."""

    status = 502


class UnavailableError(WorkspaceServerError):
    """Something this server depends on is away: engine, database, disk space, a missing program."""

    status = 503
    retryable = True


class DeadlineError(WorkspaceServerError):
    """An operation took longer than it may. The message names the operation, the time spent and the limit."""

    status = 504
    retryable = True

    def __init__(self, message: str, *, code: ErrorCode = "deadline_exceeded", hint: str = "") -> None:
        super().__init__(message, code=code, hint=hint)
