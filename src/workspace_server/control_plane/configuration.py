"""What the control plane gives its tenants' workspaces at start: access to providers, and what features need.

Read once, when the server starts, and kept in memory alone. A value reaches the containers of workspaces as a
variable, beneath the secrets that people save; this server itself takes no setting from here.
"""

import asyncio
from collections.abc import Mapping

import httpx
import structlog

from workspace_server.concurrency import Deadline
from workspace_server.control_plane.connection import json_of
from workspace_server.errors import DeadlineError, UnavailableError
from workspace_server.settings import Settings
from workspace_server.text import plain, shortened

log = structlog.get_logger(__name__)

_SECONDS = 10.0
_LONGEST_VALUE = 4096
_LONGEST_LIST = 500

PROVIDERS = frozenset(
    {
        *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "CLAUDE_CODE_OAUTH_TOKEN"),
        *("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENROUTER_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY"),
        *("GROQ_API_KEY", "MISTRAL_API_KEY", "DEEPSEEK_API_KEY", "CEREBRAS_API_KEY", "XAI_API_KEY"),
        *("QIANFAN_API_KEY", "MINIMAX_API_KEY", "MOONSHOT_API_KEY", "NOUS_API_KEY", "HERMES_API_KEY"),
    }
)
"""Access to model providers."""
FEATURES = frozenset(
    {
        *("MODEL_PROVIDER", "AWARENESS_URL", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        *("LANGFUSE_HOST", "LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"),
    }
)
"""What runtimes ask for besides."""
GIVEN = PROVIDERS | FEATURES
"""Every key that is taken. None of them changes what a program loads, whom it trusts, or what this server does."""


class TenantConfiguration:
    """The control plane's variables for this tenant's workspaces."""

    def __init__(self) -> None:
        self._values: Mapping[str, str] = {}
        self._read = asyncio.Event()

    async def values(self) -> Mapping[str, str]:
        """The variables, as soon as the control plane was asked; none when it gave none."""
        await self._read.wait()
        return self._values

    async def read(self, http: httpx.AsyncClient, settings: Settings) -> None:
        """Ask for them. What goes wrong is logged: workspaces start without them."""
        try:
            async with Deadline(_SECONDS).limit("reading this tenant's configuration"):
                self._values = _taken(await _asked(http, settings))
            log.info("the control plane gave variables for workspaces", keys=sorted(self._values))
        except (UnavailableError, DeadlineError) as error:
            hint = "check MOLECULE_CP_URL, MOLECULE_ORG_ID and ADMIN_TOKEN; it is read again when the server starts"
            log.error(error.message, code="tenant_configuration_unavailable", hint=hint)  # noqa: TRY400 - all is said
        finally:
            self._read.set()


async def _asked(http: httpx.AsyncClient, settings: Settings) -> Mapping[str, str]:
    """Raises UnavailableError; nothing of the answer is in its words."""
    if settings.admin_token is None or settings.org_id is None:
        raise ValueError("there is no tenant without MOLECULE_ORG_ID and ADMIN_TOKEN")
    headers = {
        b"Authorization": f"Bearer {settings.admin_token.get_secret_value()}".encode(),
        b"X-Molecule-Org-Id": settings.org_id.encode(),
        b"Accept": b"application/json",
        b"Accept-Encoding": b"identity",
    }
    url = f"{settings.cp_url}/cp/tenants/config"
    try:
        async with http.stream("GET", url, headers=headers) as response:
            if response.status_code != httpx.codes.OK:
                raise _unavailable(f"the control plane answered {response.status_code}")
            answer = await json_of(response)
    except httpx.TransportError as error:
        raise _unavailable("the control plane does not answer") from error
    except ValueError as error:
        raise _unavailable(str(error)) from error
    if not isinstance(answer, dict) or not all(isinstance(value, str) for value in answer.values()):
        raise _unavailable("the answer is no map of texts")
    return dict(answer)


def _taken(answer: Mapping[str, str]) -> Mapping[str, str]:
    """What is in the table and fits into an environment. The names of the rest are logged, in one line."""
    given = {key: value for key, value in answer.items() if key and value}
    taken = {key: value for key, value in given.items() if key in GIVEN and _fits(value)}
    left = sorted(given.keys() - taken.keys())
    if left:
        names = shortened(plain(", ".join(left)).replace("\n", " "), _LONGEST_LIST)
        log.warning("the control plane gave variables that are not taken", count=len(left), keys=names)
    return taken


def _fits(value: str) -> bool:
    if "\0" in value:
        return False
    try:
        return len(value.encode()) <= _LONGEST_VALUE
    except UnicodeEncodeError:  # half of a character
        return False


def _unavailable(why: str) -> UnavailableError:
    return UnavailableError(
        f"this tenant's configuration cannot be read: {why}", code="tenant_configuration_unavailable"
    )
