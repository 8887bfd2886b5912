"""What the person who starts an agent elsewhere needs to connect it."""

import json
from typing import Any

from fastapi import Request

from workspace_server.api.access import services

# The dashboard puts the token in place of these by searching for them, so their spelling must stay.
_TOKEN_IN_SHELL = 'WORKSPACE_AUTH_TOKEN="<paste from create response>"'  # noqa: S105 - none
_TOKEN_IN_PYTHON = 'AUTH_TOKEN    = "<paste from create response>"'  # noqa: S105 - none

_CURL = """\
{token}
curl -fsS -X POST {register} \\
  -H "Authorization: Bearer $WORKSPACE_AUTH_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{{"id": "{workspace_id}", "url": "https://your-agent.example", "agent_card": {{"name": {name}}}}}'
"""

_PYTHON = """\
import json
import time
import urllib.request

{token}
WORKSPACE_ID  = "{workspace_id}"
PLATFORM_URL  = "{platform_url}"
AGENT_URL     = "https://your-agent.example"


def call(path, body):
    request = urllib.request.Request(
        PLATFORM_URL + path,
        json.dumps(body).encode(),
        {{"Authorization": "Bearer " + AUTH_TOKEN, "Content-Type": "application/json"}},
    )
    urllib.request.urlopen(request, timeout=10).read()


call("/registry/register", {{"id": WORKSPACE_ID, "url": AGENT_URL, "agent_card": {{"name": {name}}}}})
while True:
    call("/registry/heartbeat", {{"workspace_id": WORKSPACE_ID}})
    time.sleep(30)
"""


def connection(request: Request, workspace_id: str, token: str, name: str) -> dict[str, Any]:
    """The addresses to call, the token, and two programs that register an agent."""
    platform_url = _platform_url(request)
    # Quoted for a shell's single quotes, too: a name may hold one.
    fields = {"workspace_id": workspace_id, "platform_url": platform_url}
    register = f"{platform_url}/registry/register"
    in_shell = json.dumps(name).replace("'", "\\u0027")
    return {
        "workspace_id": workspace_id,
        "platform_url": platform_url,
        "auth_token": token,
        "registry_endpoint": register,
        "heartbeat_endpoint": f"{platform_url}/registry/heartbeat",
        "curl_register_template": _CURL.format(**fields, token=_TOKEN_IN_SHELL, register=register, name=in_shell),
        "python_snippet": _PYTHON.format(**fields, token=_TOKEN_IN_PYTHON, name=json.dumps(name)),
    }


def _platform_url(request: Request) -> str:
    """Where the caller reaches this server, unless the operator says how agents outside do."""
    configured = services(request).settings.external_platform_url
    if configured:
        return configured.rstrip("/")
    scheme = request.headers.get("x-forwarded-proto") or request.url.scheme
    host = request.headers.get("x-forwarded-host") or request.headers.get("host") or request.url.netloc
    return f"{scheme}://{host}".rstrip("/")
