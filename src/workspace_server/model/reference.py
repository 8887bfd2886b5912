"""Image references, by the grammar of the OCI distribution specification."""

import re
from dataclasses import dataclass

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PREFIX = re.compile(rf"(?P<host>{_HOST}(?::[0-9]{{1,5}})?)(?P<path>(?:/{_COMPONENT})*)")


@dataclass(frozen=True, slots=True)
class RegistryPrefix:
    """``host[:port][/namespace…]``: where a registry's workspace images live."""

    text: str

    @classmethod
    def parse(cls, text: str) -> "RegistryPrefix":
        """Parse ``text``, one trailing slash tolerated; raises ValueError with one sentence."""
        match = _PREFIX.fullmatch(text.removesuffix("/"))
        if match is None:
            raise ValueError("is not a registry prefix (host[:port][/namespace], no scheme, tag or digest)")
        host = match["host"]
        if not ("." in host or ":" in host or host == "localhost"):
            raise ValueError(
                "must begin with a registry host (with a dot or a port): a bare namespace would mean Docker Hub"
            )
        return cls(match[0])

    @property
    def host(self) -> str:
        """The registry's host, with its port when there is one."""
        return self.text.split("/", 1)[0]

    def image(self, runtime: str) -> str:
        """The reference of a runtime's image in this registry."""
        return f"{self.text}/workspace-template-{runtime}:latest"

    def __str__(self) -> str:
        return self.text
