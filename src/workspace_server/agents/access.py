"""Which workspaces may talk to which: relatives, siblings, and all roots among themselves."""

from workspace_server.db import WorkspaceStore
from workspace_server.model.workspace import Workspace

_DEEPEST = 32


async def may_communicate(store: WorkspaceStore, caller_id: str, target_id: str) -> bool:
    """Whether ``caller_id`` may talk to ``target_id``: itself, siblings, ancestors and descendants, root to root."""
    if caller_id == target_id:
        return True
    caller, target = await store.get(caller_id), await store.get(target_id)
    if caller is None or target is None:
        return False
    if caller.parent_id == target.parent_id:
        return True
    return await _is_above(store, caller, target) or await _is_above(store, target, caller)


async def _is_above(store: WorkspaceStore, upper: Workspace, lower: Workspace) -> bool:
    current: Workspace | None = lower
    for _ in range(_DEEPEST):
        if current is None or current.parent_id is None:
            return False
        if current.parent_id == upper.id:
            return True
        current = await store.get(current.parent_id)
    return False
