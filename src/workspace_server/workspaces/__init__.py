"""The life of workspaces: use cases, provisioning, and the reconciler that makes the engine match the rows."""

from workspace_server.workspaces.provision import Provisioner
from workspace_server.workspaces.reconcile import Reconciler
from workspace_server.workspaces.service import Removal, WorkspaceService

__all__ = ["Provisioner", "Reconciler", "Removal", "WorkspaceService"]
