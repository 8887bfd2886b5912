"""The JSON forms of things, as clients read them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, assert_never

from workspace_server.images import BuildRecord
from workspace_server.images.lookup import Hit, Miss
from workspace_server.images.prune import Item, Pruned
from workspace_server.images.survey import Explanation, LocalImage, RegistryImage, RuntimeInfo
from workspace_server.model import names
from workspace_server.model.build import BuildPhase, BuildState, BuildStep
from workspace_server.model.container import ImageInfo
from workspace_server.model.workspace import ImageOnRow, Phase, Workspace
from workspace_server.workspaces.control_plane_backend import SOURCE
from workspace_server.workspaces.progress import seconds_since
from workspace_server.workspaces.rollout import Refreshed


def public_workspace(workspace: Workspace) -> Mapping[str, Any]:
    """A workspace for whoever may see that it exists."""
    return {
        "id": workspace.id,
        "name": workspace.name,
        "role": workspace.role,
        "tier": workspace.tier,
        "status": workspace.status,
        "agent_card": workspace.agent_card,
        "url": workspace.url,
        "parent_id": workspace.parent_id,
        "active_tasks": workspace.active_tasks,
        "max_concurrent_tasks": workspace.max_concurrent_tasks,
        "last_error_rate": workspace.last_error_rate,
        "uptime_seconds": workspace.uptime_seconds,
        "runtime": workspace.runtime,
        "x": workspace.x,
        "y": workspace.y,
        "collapsed": workspace.collapsed,
        "last_outbound_at": workspace.last_outbound_at,
    }


def listed_workspace(workspace: Workspace) -> Mapping[str, Any]:
    """A workspace for its owner's list, with what only the owner may read."""
    form = {key: value for key, value in public_workspace(workspace).items() if key != "last_outbound_at"}
    return form | {
        "last_sample_error": workspace.last_sample_error,
        "current_task": workspace.current_task,
        "workspace_dir": workspace.workspace_dir,
        "budget_limit": workspace.budget_limit,
        "monthly_spend": workspace.monthly_spend,
    }


def build(record: BuildRecord, *, with_steps: bool = True) -> Mapping[str, Any]:
    """A build."""
    form = asdict(record) | {
        "step": record.step and _step(record.step, record),
        "steps": [_step(step, record) for step in record.steps],
        "seconds": round(record.seconds, 3),
        "log": f"/images/builds/{record.id}/log",
    }
    if not with_steps:
        del form["steps"]
    return form


def _step(step: BuildStep, record: BuildRecord) -> Mapping[str, Any]:
    """A step; of one that runs, the seconds so far."""
    running = not step.ended and not record.state.ended
    seconds = step.seconds
    if running and step.started_at is not None:
        seconds = round((datetime.now(UTC) - step.started_at).total_seconds(), 3)
    return {
        "n": step.n,
        "of": step.of,
        "name": step.name,
        "cached": step.cached,
        "failed": step.failed,
        "running": running,
        "seconds": seconds,
        "done_bytes": step.done_bytes,
        "total_bytes": step.total_bytes,
    }


def build_hit(runtime: str, found: ImageInfo) -> Mapping[str, Any]:
    """The image is there, so no build is needed: said in the form of a build, though none is on record."""
    return {
        "id": None,
        "runtime": runtime,
        "commit": found.labels.get(names.COMMIT),
        "build_id": found.labels.get(names.BUILD_ID),
        "platform": found.platform,
        "reason": "",
        "builder": None,
        "execution": None,
        "state": BuildState.HIT,
        "phase": BuildPhase.DONE,
        "waits_for": None,
        "step": None,
        "steps": [],
        "waiters": 0,
        "started_at": None,
        "finished_at": None,
        "seconds": 0,
        "image": None,
        "digest": None,
        "image_id": found.id,
        "error": None,
        "log": None,
    }


def image(found: LocalImage) -> Mapping[str, Any]:
    """An image that was built here."""
    return {
        "id": found.image.id,
        "tags": found.image.tags,
        "runtime": found.label(names.RUNTIME),
        "commit": found.label(names.COMMIT),
        "build_id": found.label(names.BUILD_ID),
        "key": found.label(names.KEY),
        "platform": found.image.platform,
        "size": found.image.size,
        "built_at": found.made.made_at,
        "last_used_at": found.made.used_at,
        "in_use_by": found.in_use_by,
        "keep": "in use" if found.in_use_by else None,
    }


def runtime(info: RuntimeInfo) -> Mapping[str, Any]:
    """A runtime, and whether it can be provisioned."""
    return {
        "name": info.name,
        "image_source": info.source,
        "template": info.template,
        "provisionable": info.reason is None,
        "reason": info.reason and info.reason.as_dict(),
        "head": info.head,
        "image": info.image and _runtime_image(info.image, stale=info.stale),
    }


def runtime_of_control_plane(name: str) -> Mapping[str, Any]:
    """A runtime where the control plane decides what its machines run: nothing of it is known here, or needed."""
    return {
        "name": name,
        "image_source": SOURCE,
        "template": None,
        "provisionable": True,
        "reason": None,
        "head": None,
        "image": None,
    }


def _runtime_image(found: LocalImage | RegistryImage, *, stale: bool) -> Mapping[str, Any]:
    match found:
        case LocalImage():
            origin = {"commit": found.label(names.COMMIT) or None, "digest": None, "built_at": found.made.made_at}
        case RegistryImage():
            origin = {"commit": None, "digest": found.digest, "built_at": found.image.created_at}
        case _:
            assert_never(found)
    return {
        "id": found.image.id,
        "tag": found.tag,
        **origin,
        "platform": found.image.platform,
        "size": found.image.size,
        "stale": stale,
        "in_use_by": len(found.in_use_by),
    }


def explanation(answer: Explanation) -> Mapping[str, Any]:
    """Hit or miss, and why."""
    hit = answer.found.image if isinstance(answer.found, Hit) else None
    return {
        "runtime": answer.runtime,
        "verdict": "miss" if hit is None else "hit",
        "reason": answer.found.reason if isinstance(answer.found, Miss) else "",
        "detail": answer.found.detail if isinstance(answer.found, Miss) else "",
        "build_id": answer.build_id,
        "parts": answer.parts,
        "image": hit and {"id": hit.id, "tags": hit.tags, "built_at": answer.built_at, "size": hit.size},
        "stale": answer.stale,
        "estimate_seconds": answer.estimate_seconds,
    }


def pruned(report: Pruned) -> Mapping[str, Any]:
    """What a pruning removed and kept, and why."""
    return {
        "removed": [_item(item, why) for item, why in report.removed],
        "kept": [_item(item, why) for item, why in report.kept],
        "freed": report.freed,
        "total": report.total,
        "budget": report.budget.bytes,
    }


def refreshed(done: Refreshed) -> Mapping[str, Any]:
    """What a refresh did."""
    return {
        "pulled": done.pulled,
        "built": done.built,
        "failed": list(done.failed),
        "errors": {name: error.as_dict() for name, error in done.failed.items()},
        "recreated": done.recreated,
        "left": done.left,
    }


def _item(item: Item, why: str) -> Mapping[str, Any]:
    return {"kind": item.kind, "name": item.name, "bytes": item.bytes, "why": why}


def provisioning(workspace: Workspace, record: BuildRecord | None, possible: Sequence[Phase]) -> Mapping[str, Any]:
    """How far a workspace's provisioning is, of the phases that are possible, and what it waits for."""
    phases = [_phase(phase, workspace.phases.get(phase)) for phase in possible]
    current = next((phase["name"] for phase in reversed(phases) if phase["state"] != "waiting"), possible[0])
    image, failure = workspace.image, workspace.failure
    return {
        "workspace_id": workspace.id,
        "status": workspace.status,
        "generation": workspace.generation,
        "phase": current,
        "phases": phases,
        "image": image and _image_on_row(image),
        "build": record and build(record, with_steps=False),
        "error": failure and _error(failure.message, failure.code, failure.hint),
    }


def _image_on_row(image: ImageOnRow) -> Mapping[str, Any]:
    return {
        "source": image.source,
        "id": image.id,
        "digest": image.digest,
        "commit": image.commit,
        "build": image.build,
        "built_at": image.built_at and datetime.fromisoformat(image.built_at),
        "stale": image.stale,
    }


def _phase(phase: Phase, entry: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if entry is None:
        return {"name": phase, "state": "waiting"}
    return {
        "name": phase,
        "state": entry["state"],
        "started_at": datetime.fromisoformat(entry["started_at"]),
        "seconds": entry.get("seconds", seconds_since(entry["started_at"])),
    }


def _error(message: str, code: str, hint: str) -> Mapping[str, str]:
    return {"error": message, "code": code} | ({"hint": hint} if hint else {})
