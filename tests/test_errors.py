"""The tree of errors: whose fault, which status, which words on the wire."""

from collections.abc import Iterator

import pytest

from workspace_server import errors
from workspace_server.errors import InvalidRequestError, SettingsError, UnavailableError, WorkspaceServerError

STATUS = {
    "WorkspaceServerError": 500,
    "InvalidRequestError": 400,
    "NotFoundError": 404,
    "ConflictError": 409,
    "AuthError": 401,
    "ForbiddenError": 403,
    "SettingsError": 500,
    "TemplateError": 409,
    "SourceError": 502,
    "UnavailableError": 503,
    "DeadlineError": 504,
}
CODES = {
    "InvalidRequestError": "invalid_request",
    "NotFoundError": "not_found",
    "ConflictError": "conflict",
    "AuthError": "unauthenticated",
    "ForbiddenError": "forbidden",
    "SettingsError": "invalid_setting",
    "DeadlineError": "deadline_exceeded",
}


def tree(root: type[WorkspaceServerError] = WorkspaceServerError) -> Iterator[type[WorkspaceServerError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


def test_every_error_has_its_status() -> None:
    assert {error.__name__: error.status for error in tree()} == STATUS


def test_only_what_may_pass_by_itself_is_retryable() -> None:
    assert {error.__name__ for error in tree() if error.retryable} == {"UnavailableError", "DeadlineError"}


@pytest.mark.parametrize("name", sorted(CODES))
def test_an_error_without_a_code_gets_its_familys(name: str) -> None:
    assert getattr(errors, name)("it went wrong").code == CODES[name]


@pytest.mark.parametrize("name", sorted(STATUS.keys() - CODES.keys()))
def test_an_error_whose_family_says_too_little_demands_a_code(name: str) -> None:
    with pytest.raises(TypeError, match="code"):
        getattr(errors, name)("it went wrong")


def test_the_docstring_draws_every_error_with_its_status() -> None:
    drawn = {
        words[1]: words[2]
        for line in (errors.__doc__ or "").splitlines()
        if (words := line.replace("│", "").split()) and words[0] in ("├──", "└──")
    }

    never_on_the_wire = {"SettingsError"}
    assert drawn == {
        name: "-" if name in never_on_the_wire else str(status)
        for name, status in STATUS.items()
        if name != "WorkspaceServerError"
    }


def test_the_wire_form_has_message_and_code() -> None:
    assert InvalidRequestError("no name").as_dict() == {"error": "no name", "code": "invalid_request"}


def test_the_wire_form_has_the_hint_when_there_is_one() -> None:
    error = UnavailableError("git is missing", code="tool_missing", hint="install git")

    assert error.as_dict() == {"error": "git is missing", "code": "tool_missing", "hint": "install git"}


def test_the_text_for_people_ends_with_the_hint() -> None:
    assert str(SettingsError("PORT='x' is not a whole number", hint="for example PORT=8080")) == (
        "PORT='x' is not a whole number\nhint: for example PORT=8080"
    )


def test_the_text_for_people_without_a_hint_is_the_message() -> None:
    assert str(SettingsError("no")) == "no"


def test_who_may_not_is_caught_with_who_is_not_known() -> None:
    assert issubclass(errors.ForbiddenError, errors.AuthError)
