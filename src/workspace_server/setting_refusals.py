"""Why settings are refused, in sentences; a secret is not shown."""

import re
from collections.abc import Sequence

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from workspace_server.errors import SettingsError

# Where a refused URL may hold a secret: before its host, and in its query.
_SECRET_PARTS = re.compile(r"(?<=://).*(?=@)|^(?!\w+://)[^@]*:[^@]*(?=@)|(?<=\?).+", re.DOTALL)


def refusal(error: ValidationError, fields: Sequence[FieldInfo]) -> SettingsError:
    """The error that names every wrong variable with its value, why it is wrong, and an example."""
    sentences, examples = [], []
    for problem in error.errors():
        variable, field = _variable(problem["loc"], fields)
        reason = _reason(problem)
        if field is None:
            sentences.append(reason)
            continue
        secret = field.annotation == SecretStr | None
        shown = "***" if secret else repr(_SECRET_PARTS.sub("***", str(problem["input"])))
        sentences.append(f"{variable}={shown} {reason}")
        examples.append(f"for example {variable}={(field.examples or [''])[0]}")
    return SettingsError("; ".join(sentences), hint="; ".join(examples))


def _variable(location: tuple[int | str, ...], fields: Sequence[FieldInfo]) -> tuple[str, FieldInfo | None]:
    if not location:
        return "", None
    name = str(location[0])
    field = next((field for field in fields if field.alias == name), None)
    if name.endswith("*") and len(location) > 1:
        name = name.removesuffix("*") + str(location[1]).upper().replace("-", "_")
    return name, field


_REASONS = {
    "int_parsing": "is not a whole number",
    "bool_parsing": "is neither 1 nor 0",
    "string_pattern_mismatch": "has the wrong form",
}


def _reason(problem: ErrorDetails) -> str:
    """What is wrong, to follow the variable and its value."""
    kind, context = problem["type"], problem.get("ctx", {})
    match kind:
        case "value_error":
            return str(context["error"])
        case "greater_than_equal" | "less_than_equal":
            bound = f"least {context['ge']}" if "ge" in context else f"most {context['le']}"
            return f"must be at {bound}"
        case "literal_error" | "enum":
            return f"must be {context['expected']}"
        case _:
            return _REASONS.get(kind, f"is wrong: {problem['msg']}")
