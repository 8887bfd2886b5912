"""Where the control plane is, and with which credentials it is asked."""

from dataclasses import dataclass, field
from typing import Self

from pydantic import SecretStr

from workspace_server.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where the control plane is, as which organisation it is asked, and with which credentials."""

    url: str
    org_id: str
    shared_secret: str | None = field(repr=False)
    tenant_token: str | None = field(repr=False)
    admin_key: str | None = field(repr=False)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The access that these settings give; each credential in the order of its names."""
        shared = _value(settings.cp_shared_secret) or _value(settings.provision_shared_secret)
        return cls(
            url=settings.cp_provision_url or settings.cp_url,
            org_id=settings.org_id or "",
            shared_secret=shared,
            tenant_token=_value(settings.admin_token),
            admin_key=_value(settings.cp_admin_token) or shared,
        )

    def headers(self, bearer: str | None) -> dict[str, str]:
        """The headers of a call: what is not set is not sent."""
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        if self.tenant_token:
            headers["X-Molecule-Admin-Token"] = self.tenant_token
        return headers

    @property
    def secrets(self) -> set[str]:
        """The credentials."""
        return {secret for secret in (self.shared_secret, self.tenant_token, self.admin_key) if secret}


def _value(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
