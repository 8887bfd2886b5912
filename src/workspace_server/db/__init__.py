"""The only user of SQL: the schema, its migrations, and one store for each kind of row."""

from workspace_server.db.database import Database, Transaction, open_database
from workspace_server.db.events import EventStore
from workspace_server.db.instances import Instance, InstanceStore
from workspace_server.db.leases import LeaseStore
from workspace_server.db.secrets import SecretStore
from workspace_server.db.tokens import TokenStore
from workspace_server.db.workspaces import WorkspaceStore

__all__ = [
    "Database",
    "EventStore",
    "Instance",
    "InstanceStore",
    "LeaseStore",
    "SecretStore",
    "TokenStore",
    "Transaction",
    "WorkspaceStore",
    "open_database",
]
