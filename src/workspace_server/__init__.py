"""workspace-server: runs teams of AI agents as containers, from a registry or from their template's source."""

__version__ = "0.1.0"
