"""What every part of a server stands on: data, connections, and the scope of all tasks."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_hex

import httpx

from workspace_server.agents import Outbound, open_agents_client, open_outside_client
from workspace_server.certificates import trusted
from workspace_server.concurrency import TaskScope
from workspace_server.db import (
    Database,
    EventStore,
    LeaseStore,
    SecretStore,
    TokenStore,
    WorkspaceStore,
    open_database,
)
from workspace_server.db.directory import DataDirectory, open_data_directory
from workspace_server.db.installation import installation_id, same_backend, wanted_backend
from workspace_server.events import EventLog
from workspace_server.git import GitAccess
from workspace_server.runtimes import Runtimes
from workspace_server.settings import Settings
from workspace_server.wiring.links import ControlPlaneLink, EngineLink, open_link
from workspace_server.wiring.tenant import Tenant, open_tenant
from workspace_server.workspaces.directories import WorkspaceDirectories
from workspace_server.workspaces.leases import Leases
from workspace_server.workspaces.secrets import Given, SecretService, nothing_given
from workspace_server.workspaces.templates import ConfigTemplates
from workspace_server.workspaces.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What the parts are made of. ``link`` leads to what starts workspaces."""

    settings: Settings
    runtimes: Runtimes
    templates: ConfigTemplates
    directories: WorkspaceDirectories
    instance: str
    data: DataDirectory
    database: Database
    store: WorkspaceStore
    tokens: TokenStore
    events: EventLog
    secrets: SecretService
    leases: Leases
    link: EngineLink | ControlPlaneLink
    agents_http: httpx.AsyncClient
    outbound: Outbound
    outside: httpx.AsyncClient
    tenant: Tenant
    scope: TaskScope


@asynccontextmanager
async def open_ground(settings: Settings) -> AsyncIterator[Ground]:
    """Open it, and close it in the reverse order.

    Raises SettingsError for a configuration that cannot work, UnavailableError when the data directory cannot be used.
    """
    runtimes = Runtimes.from_settings(settings)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        data = stack.enter_context(open_data_directory(settings.data_dir))
        database = await enter(open_database(_database_place(settings, data)))
        instance = await installation_id(database, data)
        leases = Leases(database=database, store=LeaseStore(server=data.server(), boot=token_hex(8)))
        await leases.void_earlier()
        stack.push_async_callback(leases.close)
        await same_backend(database, wanted_backend(settings.org_id))
        git, outbound = GitAccess.from_settings(settings), Outbound.from_settings(settings)
        trust = partial(_trusted, git)
        tenant = await enter(open_tenant(settings, trust))
        yield Ground(
            settings=settings,
            runtimes=runtimes,
            templates=ConfigTemplates(settings.configs_dir),
            directories=WorkspaceDirectories.from_settings(settings),
            instance=instance,
            data=data,
            database=database,
            store=WorkspaceStore(database),
            tokens=TokenStore(database),
            events=EventLog(EventStore(database)),
            secrets=secret_service(settings, data, database, tenant.variables),
            leases=leases,
            link=await enter(open_link(settings, git, trust)),
            agents_http=await enter(open_agents_client()),
            outbound=outbound,
            outside=await enter(open_outside_client(outbound, trust)),
            tenant=tenant,
            # Entered after what its tasks use, so that they have ended before any of it is closed.
            scope=await enter(TaskScope()),
        )


@asynccontextmanager
async def rotating_secrets(settings: Settings) -> AsyncIterator[SecretService]:
    """The secrets of an installation whose server does not run, to be sealed anew inside the block.

    Where the key is this installation's own, a new one is made first, and the old ones are forgotten at the end.
    """
    with open_data_directory(settings.data_dir) as data:
        own = not settings.encryption_keys
        if own:
            data.make_encryption_key()
        async with open_database(_database_place(settings, data)) as database:
            yield secret_service(settings, data, database)
        if own:
            data.keep_encryption_keys(data.encryption_keys()[:1])


def secret_service(
    settings: Settings, data: DataDirectory, database: Database, given: Given = nothing_given
) -> SecretService:
    """The secrets, under the operator's keys and those of the data directory; under a new one where there is none."""
    keys = [*settings.encryption_keys, *data.encryption_keys()] or data.make_encryption_key()
    return SecretService(database=database, store=SecretStore(database), vault=Vault(keys), given=given)


def _database_place(settings: Settings, data: DataDirectory) -> Path | str:
    return data.database if settings.database_url is None else settings.database_url.get_secret_value()


def _trusted(access: GitAccess) -> ssl.SSLContext:
    return trusted(access.certificate_file, access.certificate_directory)
