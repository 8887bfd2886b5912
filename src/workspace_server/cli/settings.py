"""``workspace-server settings``."""

from collections.abc import Mapping

from pydantic import SecretStr

from workspace_server.settings import Settings, load_settings
from workspace_server.text import without_user


def print_settings() -> None:
    """Print the settings of this environment. Raises SettingsError for a wrong one."""
    settings = load_settings()
    rows = [
        (str(field.alias), shown(getattr(settings, name)), str(field.description))
        for name, field in Settings.model_fields.items()
        if field.alias
    ]
    width = max(len(variable) for variable, _, _ in rows)
    for variable, value, description in rows:
        print(f"{variable:<{width}}  {value}\n{'':<{width}}  # {description}")


def shown(value: object) -> str:
    """A setting's value for people; a secret's never."""
    match value:
        case None | ():
            return "(unset)"
        case "":
            return "(empty)"
        case SecretStr():
            return "***"
        case Mapping():
            return ", ".join(f"{key}={item}" for key, item in value.items()) or "(unset)"
        case tuple():
            return ",".join(str(item) for item in value)
        case _:
            return without_user(str(value))
