"""The search for secrets finds what was hidden, and only that."""

import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.secret_search import SecretSearch

SECRET = "hush/4f+7a=b\"9~'%c"
SECRETS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=6, max_size=30)

HIDDEN: dict[str, Callable[[str], bytes]] = {
    "as it is": lambda secret: secret.encode(),
    "quoted": lambda secret: quote(secret, safe="").encode(),
    "in a form": lambda secret: quote_plus(secret).encode(),
    "JSON": lambda secret: json.dumps({"a": secret}).encode(),
    "Python": lambda secret: repr([secret]).encode(),
    "hex": lambda secret: secret.encode().hex().encode(),
    "compressed": lambda secret: gzip.compress(secret.encode()),
    "basic credentials": lambda secret: base64.b64encode(f"oauth2:{secret}".encode()),
}


def searching(secret: str = SECRET) -> SecretSearch:
    return SecretSearch({"the token": secret})


@pytest.mark.parametrize("hide", HIDDEN.values(), ids=HIDDEN)
def test_a_hidden_secret_is_found(hide: Callable[[str], bytes]) -> None:
    assert searching().look("file", "a", hide(SECRET))


@given(secret=SECRETS, before=st.binary(max_size=7), after=st.binary(max_size=7))
def test_a_secret_inside_base64_is_found_wherever_it_begins(secret: str, before: bytes, after: bytes) -> None:
    assert searching(secret).look("file", "a", base64.b64encode(before + secret.encode() + after))
    assert searching(secret).look("file", "a", base64.urlsafe_b64encode(before + secret.encode() + after))


@given(content=st.binary(max_size=200))
def test_nothing_is_found_where_nothing_is(content: bytes) -> None:
    assert searching().look("file", "a", b" " + content) == []


def test_a_hit_says_where_it_is_and_what_was_looked_through_is_counted() -> None:
    search = searching()
    search.look("log", "server.log", f"x{SECRET}")
    search.look("log", "other.log", "clean")
    assert {(hit.kind, hit.place, hit.secret) for hit in search.hits} == {("log", "server.log", "the token")}
    assert search.searched == {"log": len(SECRET) + 1 + len("clean")}


@pytest.mark.parametrize("where", ["content", "link"])
def test_a_folder_is_searched_to_its_bottom(tmp_path: Path, where: str) -> None:
    search = searching()
    (tmp_path / "a" / "b").mkdir(parents=True)
    if where == "content":
        (tmp_path / "a" / "b" / "c").write_text(f"x {SECRET}\n")
    else:
        (tmp_path / "a" / "b" / "c").symlink_to(f"/nowhere/{SECRET}")
    search.look_below("tree", tmp_path)
    assert {hit.place for hit in search.of("tree")} == {str(tmp_path / "a" / "b" / "c")}
