"""Hostile names, URLs, refs, prefixes and platforms, from the environment to the commands that are really made of them.

What passes is one argument at its place: no option, no second argument, no other folder, no other origin.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yarl
from hypothesis import example, given
from hypothesis import strategies as st

from workspace_server.concurrency import Deadline
from workspace_server.engine.builder import command
from workspace_server.engine.programs import BuildTool
from workspace_server.engine.registry_faults import registry_of
from workspace_server.errors import InvalidRequestError, SettingsError
from workspace_server.git import GitAccess, resolve, store
from workspace_server.git.folders import prepare
from workspace_server.git.store import ObjectStore
from workspace_server.images import LocalBuildSource, RegistrySource, image_source
from workspace_server.images.identity import BuildIdentity
from workspace_server.model.build import BuilderKind, BuildRequest
from workspace_server.model.repository import RepositoryUrl
from workspace_server.process import Completed
from workspace_server.runtimes import Runtimes
from workspace_server.settings import Settings, load_settings
from workspace_server.text import plain

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PREFIX = "https://git.example.org/team/template-"
SECRET = "hush-and-more"

FRAGMENTS = st.sampled_from(
    [
        *("-", "--upload-pack=id", "-c", "--", "..", "../", "/", "//", "\\", ".", "~", "@", ":", "::", "%2e%2e", "%00"),
        *(
            "\n",
            "\r",
            "\t",
            " ",
            "\x00",
            "\x1b[2J",
            "$(id)",
            "`id`",
            ";id",
            "|id",
            "&",
            "'",
            '"',
            "*",
            "?",
            "[",
            "]",
            "{",
        ),
        *(
            "#",
            "^",
            "+",
            "=",
            ",",
            "@{",
            ".lock",
            ".git",
            "ext::id",
            "file://",
            "http://",
            "https://",
            "evil.example.org",
        ),
        *(
            "127.0.0.1",
            "localhost",
            "[::1]",
            "u:p@",
            "é",
            "\uff0e",
            "\uff0f",
            "\u202e",
            "\ud800",
            "A",
            "a",
            "0",
            "x" * 300,
        ),
    ]
)
HOSTILE = st.lists(FRAGMENTS | st.text(max_size=3), max_size=6).map("".join)


def around(*valid: str) -> st.SearchStrategy[str]:
    """Hostile texts, but mostly valid ones with one thing before, behind or inside of them, hostile or not."""

    def broken(text: str, at: int, piece: str) -> str:
        return text[: at % (len(text) + 1)] + piece + text[at % (len(text) + 1) :]

    piece = st.characters(codec="ascii") | FRAGMENTS | st.from_regex(r"[a-z0-9./:_-]{1,4}", fullmatch=True)
    nearly = st.builds(broken, st.sampled_from(valid), st.integers(0, 60), piece)
    return st.one_of(nearly, nearly, HOSTILE)


NAMES = around("echo", "my-agent", "a")
URLS = around(PREFIX, "http://127.0.0.1:3000/t-", "file:///srv/git/t-", "https://git.example.org:8443/a/b")
REFS = around("main", "v1.2", "release/2026", COMMIT)
PLATFORMS = around("linux/amd64", "linux/arm/v7", "linux/arm64")
REGISTRIES = around("ghcr.io/molecule-ai", "registry.example.org:5000/a/b", "[::1]:5000/x", "localhost/ns")


def loaded(**variables: str) -> Settings | None:
    """The settings of an environment; None when the server would not start."""
    try:
        return load_settings({"HOME": "/home/u", "PATH": "/bin", "MOLECULE_GITEA_TOKEN": SECRET, **variables})
    except SettingsError:
        return None


def table(**variables: str) -> Runtimes | None:
    settings = loaded(**variables)
    try:
        return settings and Runtimes.from_settings(settings)
    except SettingsError:
        return None


class Recorder:
    """Stands where git is started, and keeps what would have been."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], Mapping[str, str]]] = []

    async def __call__(self, arguments: Sequence[str], *, env: Mapping[str, str], **options: Any) -> Completed:
        self.calls.append((list(arguments), env))
        return Completed(argv=arguments, returncode=0, stdout=COMMIT.encode(), stderr=b"")

    @property
    def last(self) -> tuple[list[str], Mapping[str, str]]:
        return self.calls[-1]


@pytest.fixture(scope="module")
def git() -> Iterator[Recorder]:
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, "git", recorder)
        patched.setattr(resolve, "git", recorder)
        yield recorder


async def fetched(url: RepositoryUrl, commit: str = COMMIT, tip: str | None = None) -> None:
    """Fetch a commit, or what a ref is now, as far as the command."""
    settings = loaded(MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX=PREFIX)
    assert settings is not None
    access = GitAccess.from_settings(settings)
    objects = ObjectStore(directory=Path("/cache/g"), access=access, url=url, lock=0, deadline=Deadline(60))
    await (objects.fetch(url, commit) if tip is None else objects.fetch_tip(url, tip))


def is_one_word(text: str) -> bool:
    """Whether a text is neither an option nor anything that a parser might split, expand or drop."""
    return re.fullmatch(r"(?!-)[A-Za-z0-9._:/\[\]@~+-]+", text) is not None


def origins(url: str) -> set[tuple[str, str, int | None]]:
    """Scheme, host and port of a URL, by three parsers that owe each other nothing."""
    one, two, three = urlsplit(url), httpx.URL(url), yarl.URL(url)
    implied = {"https": 443, "http": 80}.get(one.scheme)
    return {
        (one.scheme, one.hostname or "", one.port or implied),
        (two.scheme, two.host, two.port or implied),
        (three.scheme, three.host or "", three.port or implied),
    }


# Runtime names


@given(name=NAMES)
@example(name="..")
@example(name="builds")
def test_a_runtimes_folder_lies_in_the_cache_and_beside_nothing_of_the_servers_own(name: str) -> None:
    runtimes = table(MOLECULE_EXTRA_RUNTIMES=name)
    for each in runtimes.names if runtimes else ():
        folder = Path("/cache") / each
        assert (folder.parent, str(folder), folder.name) == (Path("/cache"), f"/cache/{each}", each)
        assert each not in {"builds", "buildx", "images", "locks"}


@given(name=NAMES)
def test_a_runtimes_repository_is_the_prefix_and_one_plain_name(name: str) -> None:
    runtimes = table(MOLECULE_EXTRA_RUNTIMES=name, MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX=PREFIX)
    for each in runtimes.names if runtimes else ():
        url = runtimes.template(each).url.text
        assert url.removeprefix(PREFIX) == each
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", each)
        assert RepositoryUrl.parse(url).text == url


@given(name=NAMES, extra=NAMES)
def test_a_name_that_is_asked_for_is_in_the_table_or_refused(name: str, extra: str) -> None:
    runtimes = table(MOLECULE_EXTRA_RUNTIMES=extra) or table()
    assert runtimes is not None
    canonical = name.removesuffix("-default") or "langgraph"
    if canonical in runtimes.names:
        assert runtimes.check(name) == canonical
        return
    with pytest.raises(InvalidRequestError) as caught:
        runtimes.check(name)
    message = caught.value.message
    assert (len(message) < 100, plain(message)) == (True, message)


@given(name=NAMES, url=URLS)
def test_a_variable_moves_its_own_runtime_only(name: str, url: str) -> None:
    variable = f"MOLECULE_TEMPLATE_REPO_{name}"
    runtimes = None if "\0" in variable or "=" in variable else table(**{variable: url})
    moved = {each for each in runtimes.names if not runtimes.template(each).is_default} if runtimes else set()
    assert len(moved) <= 1
    assert moved <= {name.lower().replace("_", "-")}


# URLs


@given(url=URLS)
@example(url="https://git.example.org/a/..%2f..")
@example(url=f"{PREFIX}*")
@example(url=f"{PREFIX} --upload-pack=id")
@example(url="https://git.example.org\\@evil.example.org/t")
@example(url="https://evil.example.org#@git.example.org/t")
async def test_a_fetch_has_the_repository_as_one_argument_behind_all_options(url: str, git: Recorder) -> None:
    settings = loaded(MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX=url)
    if settings is None:
        return
    repository = settings.template_prefix.joined("echo")
    await fetched(repository)
    arguments, env = git.last
    options = ["--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules"]
    local = ["--upload-pack=git -c safe.directory=* upload-pack"] if repository.scheme == "file" else []
    refspec = f"+{COMMIT}:refs/commits/{COMMIT}"
    assert arguments == ["fetch", *options, *local, "--", repository.text, refspec]
    assert is_one_word(repository.text)
    assert env["GIT_ALLOW_PROTOCOL"] == urlsplit(repository.text).scheme
    assert env["GIT_ALLOW_PROTOCOL"] in ("https", "http", "file")


@given(url=URLS)
def test_every_parser_sees_the_origin_that_was_checked(url: str) -> None:
    settings = loaded(MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX=url)
    if settings is None or settings.template_prefix.scheme == "file":
        return
    prefix = settings.template_prefix
    seen = origins(prefix.text) | origins(prefix.joined("echo").text)
    assert len(seen) == 1
    ((scheme, host, _),) = seen
    assert scheme == "https" or host in ("localhost", "::1") or host.startswith("127.")


@given(own=URLS)
@example(own=f"{PREFIX}echo")
@example(own="https://git.example.org:443/other")
@example(own="https://git.example.org.evil.example.org/team/template-echo")
async def test_the_token_is_given_to_the_prefixs_origin_only(own: str, git: Recorder) -> None:
    runtimes = table(MOLECULE_TEMPLATE_REPO_HERMES=own)
    if runtimes is None:
        return
    repository = runtimes.template("hermes").url
    await fetched(repository)
    environment = git.last[1]
    told = [value for value in environment.values() if "Authorization" in value]
    same = repository.scheme != "file" and origins(repository.text) == origins(PREFIX)
    assert bool(told) == same
    if told:
        keys = [value for name, value in environment.items() if name.startswith("GIT_CONFIG_KEY_") and "extra" in value]
        assert {frozenset(origins(key.removeprefix("http.").removesuffix(".extraHeader"))) for key in keys} == {
            frozenset(origins(PREFIX))
        }


# Refs


@given(ref=REFS)
@example(ref="--upload-pack=id")
@example(ref="main:refs/heads/other")
@example(ref="refs/heads/*")
async def test_a_ref_is_looked_for_by_exact_names_behind_all_options(ref: str, git: Recorder) -> None:
    runtimes = table(MOLECULE_TEMPLATE_REF_HERMES=ref, MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX="file:///srv/t-")
    if runtimes is None or resolve.is_pinned(template := runtimes.template("hermes")):
        return
    assert template.ref is None or is_one_word(template.ref)
    settings = loaded(MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX="file:///srv/t-")
    assert settings is not None
    with pytest.raises(Exception, match="no branch and no tag"):  # the answer names none
        await resolve._look_up_file(GitAccess.from_settings(settings), template.url, template.ref, Deadline(60))
    arguments, _ = git.last
    at = arguments.index("--")
    assert arguments[:at] == ["ls-remote", "--symref", "--upload-pack=git -c safe.directory=* upload-pack"]
    assert arguments[at + 1] == "file:///srv/t-hermes"
    assert all(
        re.fullmatch(r"HEAD|refs/(heads|tags)/[A-Za-z0-9._/+@-]+(\^\{\})?", each) for each in arguments[at + 2 :]
    )


@given(ref=REFS)
async def test_a_ref_that_a_host_names_is_one_argument_and_no_option(ref: str, git: Recorder) -> None:
    """A host says which branch HEAD is: it may say anything."""
    before = len(git.calls)
    await fetched(RepositoryUrl.parse(f"{PREFIX}echo"), tip=ref)
    arguments, _ = git.calls[before]
    assert arguments[arguments.index("--") + 1 :] == [f"{PREFIX}echo", f"+{ref}:refs/tip"]
    assert all(call[0][0] in ("fetch", "rev-parse", "update-ref") for call in git.calls[before:])


# Platforms, and the builder's command


@given(platform=PLATFORMS, name=NAMES, url=URLS, kind=st.sampled_from(BuilderKind))
@example(platform="-linux/amd64", name="echo", url=PREFIX, kind=BuilderKind.CLASSIC)
@example(platform="linux/" + "a" * 200, name="echo", url=PREFIX, kind=BuilderKind.BUILDX)
def test_a_build_has_options_of_its_own_and_the_checkout_and_nothing_else(
    platform: str, name: str, url: str, kind: BuilderKind
) -> None:
    variables = {
        "MOLECULE_IMAGE_PLATFORM": platform,
        "MOLECULE_EXTRA_RUNTIMES": name,
        "MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX": url,
    }
    settings, runtimes = loaded(**variables), table(**variables)
    if settings is None or runtimes is None:
        return
    source = image_source(settings)
    assert isinstance(source, LocalBuildSource)
    for each in runtimes.names:
        template = runtimes.template(each)
        identity = BuildIdentity(template=template, commit=COMMIT, platform=source.platform or "linux/amd64")
        tree = settings.build_cache / each / COMMIT / "tree"
        request = BuildRequest(context=tree, labels=identity.labels(b"FROM scratch\n"), platform=source.platform)
        tool = BuildTool(kind=kind, program=Path("/bin/docker"), version=(28, 0), engine_platform="linux/amd64")
        argv = command(tool, request, Path("/state/id"))
        end = ["-f", f"{tree}/Dockerfile", str(tree)]
        assert argv[-3:] == end
        platforms = ["--platform", str(source.platform)] if source.platform else []
        middle = argv[argv.index("/state/id") + 1 : -3]
        assert middle[: len(platforms)] == platforms
        assert not source.platform or is_one_word(source.platform)
        for label in middle[len(platforms) :]:
            assert re.fullmatch(r"--label=molecule\.[a-z_.]+=[^\s\x00-\x1f\x7f-\x9f]+", label), label
        for tag in (identity.tag, identity.floating_tag):
            assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", tag), tag
        assert re.fullmatch(r"molecule-local/workspace-template-[a-z0-9]+(-+[a-z0-9]+)*", identity.repository)


@given(place=around("/var/cache/molecule", "cache", "-rf", "~/cache"))
@example(place="-rf")
@example(place="cache")
def test_the_cache_is_a_place_and_no_option(place: str) -> None:
    settings = None if "\0" in place else loaded(MOLECULE_LOCAL_BUILD_CACHE=place)
    assert settings is None or str(settings.build_cache).startswith("/")


# Registries


@given(text=REGISTRIES, name=NAMES)
def test_a_registrys_image_is_of_that_registry_and_one_path_to_every_parser(text: str, name: str) -> None:
    variables = {"MOLECULE_IMAGE_REGISTRY": text, "MOLECULE_EXTRA_RUNTIMES": name}
    settings, runtimes = loaded(**variables), table(**variables)
    if settings is None or runtimes is None:
        return
    source = image_source(settings)
    if not isinstance(source, RegistrySource):
        assert not text.strip()
        return
    for each in runtimes.names:
        reference = source.prefix.image(each)
        assert is_one_word(reference)
        assert registry_of(reference) == source.prefix.host
        assert reference.endswith(f"/workspace-template-{each}:latest")
        asked = yarl.URL(f"http://engine/v1.41/images/{reference}/json")
        assert (asked.path, asked.query_string) == (f"/v1.41/images/{reference}/json", "")
        assert "molecule-local" not in reference.split("/")[:1]


# The folder that is really made


@given(name=NAMES)
def test_what_is_made_for_a_runtime_is_one_folder_in_the_cache(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    runtimes = table(MOLECULE_EXTRA_RUNTIMES=name)
    for each in set(runtimes.names) - set(table().names) if runtimes else ():
        root = tmp_path_factory.mktemp("place")
        prepare(root / "cache", root / "cache" / each)
        assert [path.relative_to(root).as_posix() for path in sorted(root.rglob("*"))] == ["cache", f"cache/{each}"]
