"""Secrets of workspaces: kept sealed, told to containers, never shown."""

from collections.abc import Awaitable, Callable, Mapping

from workspace_server.db import Database, SecretStore, Transaction
from workspace_server.errors import InvalidRequestError, NotFoundError, UnavailableError
from workspace_server.model.secret import SecretInfo, check_secret
from workspace_server.workspaces.vault import UnreadableError, Vault

Given = Callable[[], Awaitable[Mapping[str, str]]]
"""The variables that workspaces have before anybody saves a secret. They are not kept."""


async def nothing_given() -> Mapping[str, str]:
    """None."""
    return {}


class SecretService:
    """Set, remove, list and read secrets. A workspace id of None means: of all workspaces."""

    def __init__(self, *, database: Database, store: SecretStore, vault: Vault, given: Given = nothing_given) -> None:
        self._given = given
        self._database = database
        self._store = store
        self._vault = vault

    async def put(self, workspace_id: str | None, key: str, value: str) -> None:
        """Set a secret. Raises InvalidRequestError ``invalid_secret``."""
        self.check({key: value})
        async with self._database.write() as tx:
            await self.put_all(tx, workspace_id, {key: value})

    async def put_all(self, tx: Transaction, workspace_id: str | None, secrets: Mapping[str, str]) -> None:
        """Set secrets that were checked, as part of a transaction."""
        for key, value in secrets.items():
            await self._store.put(tx, workspace_id, key, self._vault.seal(workspace_id, key, value))

    @staticmethod
    def check(secrets: Mapping[str, str]) -> None:
        """Raise InvalidRequestError ``invalid_secret`` for the first that may not be."""
        for key, value in secrets.items():
            try:
                check_secret(key, value)
            except ValueError as error:
                raise InvalidRequestError(str(error), code="invalid_secret") from None

    async def delete(self, workspace_id: str | None, key: str) -> None:
        """Remove a secret; raises NotFoundError."""
        async with self._database.write() as tx:
            if not await self._store.delete(tx, workspace_id, key):
                raise NotFoundError("secret not found", code="secret_not_found")

    async def infos(self, workspace_id: str | None) -> list[SecretInfo]:
        """The secrets a workspace has: its own by key, then those of all that it does not replace."""
        own = await self._store.infos(workspace_id)
        if workspace_id is None:
            return own
        replaced = {secret.key for secret in own}
        return [*own, *(each for each in await self._store.infos(None) if each.key not in replaced)]

    async def told_of(self, key: str) -> list[str]:
        """The workspaces that a secret of all reaches: those that do not replace it."""
        return await self._store.without_own(key)

    async def reseal(self) -> int:
        """Seal every secret anew, with the newest key; how many there are. All, or with an error none.

        Raises UnavailableError ``secret_unreadable``.
        """
        count = 0
        async with self._database.write() as tx:
            for owner in (None, *await self._store.owners()):
                values = self._opened(owner, await self._store.sealed(owner))
                await self.put_all(tx, owner, values)
                count += len(values)
        return count

    async def environment(self, workspace_id: str) -> Mapping[str, str]:
        """The values that a workspace's container is told: what is given, replaced by those of all and by its own.

        Raises UnavailableError ``secret_unreadable`` that names every secret that cannot be opened.
        """
        of_all, own = await self._store.sealed(None), await self._store.sealed(workspace_id)
        kept = {key: sealed for key, sealed in of_all.items() if key not in own}
        return {**await self._given(), **self._opened(None, kept), **self._opened(workspace_id, own)}

    def _opened(self, owner: str | None, sealed: Mapping[str, bytes]) -> Mapping[str, str]:
        values: dict[str, str] = {}
        unreadable: list[str] = []
        for key, value in sealed.items():
            try:
                values[key] = self._vault.open(owner, key, value)
            except UnreadableError:
                unreadable.append(key)
        if unreadable:
            whose = "of all workspaces" if owner is None else f"of workspace {owner}"
            raise UnavailableError(
                f"secrets {whose} cannot be opened with this server's key: {', '.join(unreadable)}",
                code="secret_unreadable",
                hint="give the server the key they were saved with (SECRETS_ENCRYPTION_KEY_PREVIOUS, or encryption_keys"
                " in the data directory), or save them again",
            )
        return values
