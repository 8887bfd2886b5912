"""What a build is called: its id, its key, its tags, its labels."""

import hashlib
import itertools
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from workspace_server.images.identity import BuildIdentity
from workspace_server.model.repository import DEFAULT_TEMPLATE_PREFIX, RepositoryUrl
from workspace_server.runtimes import Template

from .making import COMMIT, OTHER_COMMIT, URL, identity, template

_HEX = "0123456789abcdef"
_NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-._", min_size=1, max_size=20).filter(
    lambda name: name.strip(".") and not name.endswith(".git")
)
_COMMITS = st.text(_HEX, min_size=40, max_size=40) | st.text(_HEX, min_size=64, max_size=64)
_PLATFORMS = st.sampled_from(["linux/amd64", "linux/arm64", "linux/arm64/v8", "linux/arm/v7", "linux/386"])
_URLS = st.builds("https://{}.example.org/{}".format, st.text("abc", min_size=1, max_size=3), _NAMES)
_PARTS = st.tuples(_URLS, _COMMITS, _PLATFORMS)


def build(parts: tuple[str, str, str], **others: object) -> BuildIdentity:
    url, commit, platform = parts
    fields = {"runtime": "hermes", "ref": None, "is_default": False, **others}
    of = Template(url=RepositoryUrl.parse(url), **fields)  # type: ignore[arg-type]
    return BuildIdentity(template=of, commit=commit, platform=platform)


@given(_PARTS, _PARTS)
def test_any_change_of_any_part_changes_the_id(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    assume(one != other)

    assert build(one).build_id != build(other).build_id


@given(_PARTS, st.integers(0, 2), st.data())
def test_a_change_of_one_part_alone_changes_the_id(one: tuple[str, str, str], n: int, data: st.DataObject) -> None:
    changed = data.draw((_URLS, _COMMITS, _PLATFORMS)[n].filter(lambda part: part != one[n]))
    other = (*one[:n], changed, *one[n + 1 :])

    assert build(one).build_id != build(other).build_id


@given(_PARTS, st.text("abc", min_size=1), st.booleans())
def test_nothing_else_changes_the_id(parts: tuple[str, str, str], name: str, default: bool) -> None:  # noqa: FBT001
    assert build(parts, runtime=name, ref=name, is_default=default).build_id == build(parts).build_id


@given(_PARTS)
def test_the_order_and_format_of_the_parts_do_not_matter(parts: tuple[str, str, str]) -> None:
    one = build(parts)
    for order in itertools.permutations(one.parts.items()):
        parsed = json.loads(json.dumps(dict(order), indent=3))
        canonical = json.dumps(parsed, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(canonical.encode()).hexdigest() == one.build_id


@given(_PARTS)
def test_git_at_the_urls_end_is_no_other_source(parts: tuple[str, str, str]) -> None:
    url, commit, platform = parts

    assert build((f"{url}.git", commit, platform)).build_id == build(parts).build_id


def test_the_id_is_the_sha256_of_canonical_json() -> None:
    text = f'{{"commit":"{COMMIT}","platform":"linux/amd64","source":"{URL}","v":1}}'

    assert identity(template()).build_id == hashlib.sha256(text.encode()).hexdigest()


def test_the_key_is_the_sha256_of_the_id_and_the_dockerfiles_sha256() -> None:
    one = identity(template())
    dockerfile = hashlib.sha256(b"FROM x\n").hexdigest()

    assert one.key(b"FROM x\n") == hashlib.sha256(f"{one.build_id}{dockerfile}".encode()).hexdigest()


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_another_dockerfile_is_another_key(one: bytes, other: bytes) -> None:
    assume(one != other)

    assert identity(template()).key(one) != identity(template()).key(other)


def test_another_build_is_another_key() -> None:
    assert identity(template(), COMMIT).key(b"x") != identity(template(), OTHER_COMMIT).key(b"x")


DIGEST = hashlib.sha256(URL.encode()).hexdigest()[:8]


@pytest.mark.parametrize(
    ("platform", "is_default", "suffix"),
    [
        ("linux/amd64", True, ""),
        ("linux/arm64", True, "-arm64"),
        ("linux/arm/v7", True, "-armv7"),
        ("linux/arm64/v8", True, "-arm64v8"),
        ("linux/amd64", False, f"-{DIGEST}"),
        ("linux/arm64", False, f"-arm64-{DIGEST}"),
    ],
)
def test_a_tag_is_the_commit_then_a_foreign_platform_then_another_source(
    *,
    platform: str,
    is_default: bool,
    suffix: str,
) -> None:
    one = identity(template(is_default=is_default), platform=platform)

    assert (one.tag, one.floating_tag) == (f"0123456789ab{suffix}", f"latest{suffix}")


def test_git_at_the_urls_end_is_no_other_tag() -> None:
    assert identity(template(url=f"{URL}.git")).tag == identity(template()).tag


def test_an_image_is_called_after_its_runtime() -> None:
    assert identity(template("claude-code")).repository == "molecule-local/workspace-template-claude-code"


def test_the_labels_are_these_and_no_others() -> None:
    one = identity(template("hermes", f"{DEFAULT_TEMPLATE_PREFIX}hermes"), platform="linux/arm64")

    assert one.labels(b"FROM x\n") == {
        "molecule.platform.managed": "true",
        "molecule.image.build_id": one.build_id,
        "molecule.image.key": one.key(b"FROM x\n"),
        "molecule.image.commit": COMMIT,
        "molecule.image.source": f"{DEFAULT_TEMPLATE_PREFIX}hermes",
        "molecule.image.platform": "linux/arm64",
        "molecule.image.dockerfile": hashlib.sha256(b"FROM x\n").hexdigest(),
        "molecule.image.runtime": "hermes",
    }
