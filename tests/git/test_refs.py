from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workspace_server.git.refs import Ref, RefsError, RefsParser, Search

A, B, C = ("a" * 40, "b" * 40, "c" * 40)
SERVICE = b"001e# service=git-upload-pack\n0000"

ids = st.text("0123456789abcdef", min_size=40, max_size=40).filter(lambda text: text.strip("0"))
long_ids = st.text("0123456789abcdef", min_size=64, max_size=64).filter(lambda text: text.strip("0"))
names = st.text(st.characters(codec="utf-8", exclude_characters="\0\n"), min_size=1, max_size=60).map("refs/".__add__)
lists = st.one_of(
    st.lists(st.builds(Ref, names, ids), min_size=1, max_size=20),
    st.lists(st.builds(Ref, names, long_ids), min_size=1, max_size=20),
)


def packet(text: bytes) -> bytes:
    return b"%04x" % (len(text) + 4) + text


def written(refs: Sequence[Ref], capabilities: bytes = b"multi_ack side-band-64k") -> bytes:
    """What git writes for these refs."""
    lines = [ref.id.encode() + b" " + ref.name.encode("utf-8", "surrogateescape") for ref in refs]
    lines[0] += b"\0" + capabilities
    return SERVICE + b"".join(packet(line + b"\n") for line in lines) + b"0000"


def parsed(data: bytes, cuts: Sequence[int] = ()) -> tuple[list[Ref], RefsParser]:
    parser = RefsParser()
    refs: list[Ref] = []
    edges = [0, *sorted(cuts), len(data)]
    for start, end in pairwise(edges):
        refs += parser.feed(data[start:end])
    return refs, parser


def found(wanted: str | None, *refs: Ref) -> Ref | None:
    search = Search(wanted)
    for ref in refs:
        search.offer(ref)
    return search.found


@given(lists)
def test_what_git_writes_is_read_back(refs: list[Ref]) -> None:
    assert parsed(written(refs))[0] == refs


@given(lists, st.data())
def test_the_cuts_of_an_answer_do_not_matter(refs: list[Ref], data: Any) -> None:
    answer = written(refs)
    cuts = data.draw(st.lists(st.integers(0, len(answer)), max_size=12))
    got, parser = parsed(answer, cuts)
    assert (got, parser.ended) == (refs, True)


def test_an_answer_may_come_byte_by_byte() -> None:
    answer = written([Ref("HEAD", A), Ref("refs/heads/main", A)])
    assert parsed(answer, range(len(answer)))[0] == [Ref("HEAD", A), Ref("refs/heads/main", A)]


@given(st.binary(max_size=400), st.booleans())
def test_hostile_bytes_raise_nothing_but_the_parsers_own_error(data: bytes, begun: bool) -> None:  # noqa: FBT001
    with suppress(RefsError):
        parsed(SERVICE + data if begun else data)


@given(lists, st.data())
def test_a_changed_byte_raises_nothing_but_the_parsers_own_error(refs: list[Ref], data: Any) -> None:
    answer = bytearray(written(refs))
    answer[data.draw(st.integers(0, len(answer) - 1))] = data.draw(st.integers(0, 255))
    with suppress(RefsError):
        parsed(bytes(answer))


@given(lists, st.data())
def test_a_cut_answer_is_never_taken_for_a_whole_one(refs: list[Ref], data: Any) -> None:
    answer = written(refs)
    cut = data.draw(st.integers(0, len(answer) - 1))
    assert not parsed(answer[:cut])[1].ended


def test_refs_come_before_the_rest_of_their_piece_is_looked_at() -> None:
    pieces = RefsParser().feed(written([Ref("HEAD", A)])[:-4] + b"nonsense")
    assert next(pieces) == Ref("HEAD", A)


@pytest.mark.parametrize("line", [b"", packet(b"0" * 40 + b" capabilities^{}\0agent=git/2\n")])
def test_an_empty_repository_has_no_refs(line: bytes) -> None:
    refs, parser = parsed(SERVICE + line + b"0000")
    assert (refs, parser.ended) == ([], True)


def test_the_default_branch_is_read_from_the_capabilities() -> None:
    answer = written([Ref("HEAD", A)], b"multi_ack symref=HEAD:refs/heads/trunk agent=git/2")
    assert parsed(answer)[1].default_branch == "refs/heads/trunk"


def test_a_detached_head_names_no_branch() -> None:
    assert parsed(written([Ref("HEAD", A)]))[1].default_branch is None


def test_the_shallow_lines_of_a_shallow_repository_are_no_refs() -> None:
    answer = written([Ref("HEAD", A)])[:-4] + packet(b"shallow " + B.encode() + b"\n") + b"0000"
    assert parsed(answer)[0] == [Ref("HEAD", A)]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"<!DOCTYPE html><html>Sign in</html>", id="web page"),
        pytest.param(A.encode() + b"\trefs/heads/main\n", id="dumb protocol"),
        pytest.param(b"000eversion 2\n0000", id="protocol v2"),
        pytest.param(b"001f# service=git-receive-pack\n0000", id="other service"),
        pytest.param(SERVICE + packet(b"ERR no access") + b"0000", id="error of the host"),
        pytest.param(SERVICE + b"0001", id="packet of v2"),
        pytest.param(SERVICE + b"+0ff", id="length with a sign"),
        pytest.param(SERVICE + b"fff1", id="too long a packet"),
        pytest.param(SERVICE + packet(A.encode() + b" HEAD\0x") + packet(b"d" * 64 + b" refs/heads/x"), id="mixed ids"),
        pytest.param(written([Ref("HEAD", A)], b"object-format=sha256"), id="other object format"),
        pytest.param(written([Ref("HEAD", A)]) + b"0000", id="more after the end"),
        pytest.param(written([Ref("HEAD", A), Ref("capabilities^{}", "0" * 40)]), id="empty and not"),
        pytest.param(written([Ref("capabilities^{}", A)]), id="empty with an id"),
    ],
)
def test_what_is_no_list_of_refs_is_an_error(answer: bytes) -> None:
    with pytest.raises(RefsError):
        parsed(answer)


def test_an_error_repeats_nothing_of_the_bytes() -> None:
    with pytest.raises(RefsError, match=r"^the host reports an error of its own$"):
        parsed(SERVICE + packet(b"ERR \x1b[31mpassword=hunter2"))


def test_only_the_ref_named_head_is_head() -> None:
    assert found(None, Ref("refs/remotes/origin/HEAD", B), Ref("refs/heads/HEAD", C), Ref("HEAD", A)) == Ref("HEAD", A)


def test_without_head_nothing_is_found() -> None:
    assert found(None, Ref("refs/heads/main", A)) is None


def test_a_branch_is_found_by_its_whole_name() -> None:
    refs = Ref("refs/heads/feature/main", B), Ref("refs/heads/main", A), Ref("refs/heads/main2", C)
    assert found("main", *refs) == Ref("refs/heads/main", A)


def test_a_name_at_the_end_of_another_is_not_found() -> None:
    assert found("main", Ref("refs/heads/feature/main", B), Ref("refs/remotes/origin/main", C)) is None


def test_an_annotated_tag_is_the_commit_behind_it() -> None:
    assert found("v1", Ref("refs/tags/v1", B), Ref("refs/tags/v1^{}", A)) == Ref("refs/tags/v1", A)


def test_a_plain_tag_is_its_commit() -> None:
    assert found("v1", Ref("refs/tags/v1", A)) == Ref("refs/tags/v1", A)


def test_a_branch_outranks_a_tag_whatever_comes_first() -> None:
    assert found("v1", Ref("refs/tags/v1", B), Ref("refs/tags/v1^{}", C), Ref("refs/heads/v1", A)) == Ref(
        "refs/heads/v1", A
    )


def test_the_answer_is_known_with_the_branch_and_not_with_a_tag() -> None:
    search = Search("v1")
    assert [search.offer(Ref("refs/tags/v1", B)), search.offer(Ref("refs/heads/v1", A))] == [False, True]
