"""Provisionings as the server tells of them."""

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

from workspace_server.api import forms
from workspace_server.api.wire import JsonAnswer
from workspace_server.images import BuildRecord
from workspace_server.model.build import BuildPhase, BuildState, BuildStep
from workspace_server.model.workspace import Failure, ImageOnRow, Phase, WorkspaceStatus
from workspace_server.workspaces.engine_backend import EngineBackend
from workspaces.making import MOMENT, workspace

STEP = BuildStep(n=2, of=5, name="RUN pip install --no-cache-dir -r requirements.txt")


def record(*steps: BuildStep, **fields: Any) -> BuildRecord:
    return BuildRecord(
        id="01J",
        runtime="hermes",
        build_id="cd" * 32,
        platform="linux/amd64",
        reason="no image",
        started_at=MOMENT,
        **{"commit": "0" * 40, "state": BuildState.RUNNING, "phase": BuildPhase.BUILD, "steps": steps, **fields},
    )


def build(*steps: BuildStep, **fields: Any) -> Any:
    """A build, as ``GET /images/builds/{id}`` answers; it took 41.25 s so far."""
    return json.loads(JsonAnswer(forms.build(record(*steps, **fields))).body) | {"seconds": 41.25}


def pull(*layers: BuildStep, **fields: Any) -> Any:
    """A pull, in the same form."""
    of = {"phase": BuildPhase.PULL, "commit": None, "image": "registry.example.org/x:latest"}
    return build(*layers, **{**of, **fields})


def view(
    *phases: tuple[Phase, str],
    status: str = "provisioning",
    built: BuildRecord | None = None,
    failure: Failure | None = None,
    **image: Any,
) -> Any:
    """A view, as ``GET /workspaces/{id}/provisioning`` answers; every phase that ended took 1.25 s."""
    entries = {}
    for phase, state in phases:
        ended = {} if state == "running" else {"seconds": 1.25}
        entries[phase.value] = {"state": state, "started_at": (MOMENT + timedelta(seconds=1)).isoformat(), **ended}
    row = workspace(
        id=str(uuid4()),
        status=WorkspaceStatus(status),
        phases=entries,
        failure=failure,
        image=ImageOnRow(source="local-build", build="01J", **image),
    )
    return json.loads(JsonAnswer(forms.provisioning(row, built, EngineBackend.phases)).body)
