"""A local build, from a commit to a tagged image, and templates that come to none."""

import asyncio
import re
from dataclasses import dataclass, replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from support.engine_proxy import EngineProxy
from support.git_repository import Repository
from support.templates import Files, no_dockerfile, symlink_dockerfile
from workspace_server.concurrency import Deadline
from workspace_server.engine import Engine, ImageBuilder
from workspace_server.errors import SourceError, TemplateError, UnavailableError
from workspace_server.git import CommitMovedError
from workspace_server.images.build import BuildWish
from workspace_server.images.identity import BuildIdentity
from workspace_server.model.build import BuildFailure, BuildPhase, BuildRequest, BuildState, Execution
from workspace_server.runtimes import Template

from .conftest import FILES, Server, ServerOf, built, the_record
from .making import identity

pytestmark = pytest.mark.engine


async def committed(repository: Repository, template: Template, files: Files) -> BuildIdentity:
    return identity(template, await repository.commit(files, replace=True))


# The straight line


async def test_an_image_carries_the_labels_of_its_commit(server: Server, wanted: BuildIdentity) -> None:
    image = await built(server, wanted)

    assert image.labels == wanted.labels(FILES["Dockerfile"].encode())


async def test_an_image_gets_the_tag_of_its_commit_and_the_floating_one(server: Server, wanted: BuildIdentity) -> None:
    image = await built(server, wanted)

    found = await server.engine.image(image.id)
    assert found is not None
    assert set(found.tags) == {f"{wanted.repository}:{wanted.tag}", f"{wanted.repository}:{wanted.floating_tag}"}


async def test_the_record_tells_the_whole_build(server: Server, wanted: BuildIdentity, builder: ImageBuilder) -> None:
    image = await built(server, wanted)

    record = the_record(server)
    assert (record.state, record.phase, record.reason, record.builder, record.image_id, record.error) == (
        BuildState.SUCCEEDED,
        BuildPhase.DONE,
        "no image",
        builder.description,
        image.id,
        None,
    )
    assert [(step.n, step.of, step.name) for step in record.steps][-1] == (
        record.steps[-1].of,
        record.steps[-1].of,
        "COPY content /content",
    )


async def test_the_log_on_disk_holds_the_builders_output_line_by_line(server: Server, wanted: BuildIdentity) -> None:
    await built(server, wanted)

    lines = server.book.log_path(the_record(server).id).read_text().splitlines()
    assert [line for line in lines if re.search(r"(\[1/1\]|Step 2/\d+ :) ?COPY content /content$", line)]
    assert [line for line in lines if line.count("#") > 1] == []


async def test_every_step_is_logged_with_runtime_commit_and_build(server: Server, wanted: BuildIdentity) -> None:
    from structlog.contextvars import merge_contextvars  # noqa: PLC0415

    with capture_logs(processors=[merge_contextvars]) as logs:
        await built(server, wanted)

    lines = [line for line in logs if line["event"].startswith("local-build:")]
    assert [re.sub(r"\d+\.\d s", "N s", line["event"]) for line in lines] == [
        f"local-build: cloning {wanted.template.url}",
        f"local-build: clone complete ({wanted.commit[:12]})",
        "local-build: docker build start",
        "local-build: docker build done (N s)",
    ]
    expected = (wanted.template.runtime, wanted.commit[:12], wanted.build_id[:12])
    assert {(line["runtime"], line["commit"], line.get("build_id")) for line in lines} == {expected}


# Templates that cannot be built


async def test_a_failing_step_is_the_templates_fault(
    server: Server, repository: Repository, template: Template
) -> None:
    wanted = await committed(repository, template, {"Dockerfile": "FROM scratch\nCOPY missing /x\n"})

    with pytest.raises(TemplateError) as caught:
        await built(server, wanted)

    record = the_record(server)
    assert (caught.value.code, record.state, record.error) == (
        "build_failed",
        BuildState.FAILED,
        caught.value.as_dict(),
    )
    assert f"GET /images/builds/{record.id}/log" in caught.value.hint


@pytest.mark.parametrize("files", [no_dockerfile(), symlink_dockerfile(), symlink_dockerfile("Dockerfile")])
async def test_a_template_without_a_dockerfile_is_not_built(
    server: Server, repository: Repository, template: Template, files: Files
) -> None:
    with pytest.raises(TemplateError) as caught:
        await built(server, await committed(repository, template, files))

    assert (caught.value.code, the_record(server).state, the_record(server).phase) == (
        "template_malformed",
        BuildState.FAILED,
        BuildPhase.DONE,
    )


async def test_a_build_that_failed_through_its_template_gives_the_same_answer_at_once(
    server: Server, repository: Repository, template: Template
) -> None:
    wanted = await committed(repository, template, {"Dockerfile": "FROM scratch\nCOPY missing /x\n"})
    messages, hints = set(), []
    for _ in range(2):
        with pytest.raises(TemplateError) as failed:
            await built(server, wanted)
        messages.add(failed.value.message)
        hints.append(failed.value.hint)

    assert [record.state for record in server.book.newest()] == [BuildState.FAILED]
    assert len(messages) == 1
    assert "is not tried again yet" in hints[1]


async def test_a_forced_build_of_a_commit_that_failed_is_built_again(
    server: Server, repository: Repository, template: Template
) -> None:
    wanted = await committed(repository, template, {"Dockerfile": "FROM scratch\nCOPY missing /x\n"})
    with pytest.raises(TemplateError):
        await built(server, wanted)
    with pytest.raises(TemplateError):
        await asyncio.shield(server.builds.begin(wanted, "forced", BuildWish(force=True)).flight)

    assert [record.state for record in server.book.newest()] == [BuildState.FAILED] * 2


async def test_a_commit_that_its_host_has_no_longer_tells_where_the_template_is_now(
    server: Server, repository: Repository, wanted: BuildIdentity
) -> None:
    repository.faults.refuse_unadvertised()
    now = await repository.commit({"content": "y"})

    with pytest.raises(CommitMovedError):
        await built(server, wanted)

    error = the_record(server).error
    assert (the_record(server).state, error) == (
        BuildState.CANCELLED,
        {
            "error": f"the template moved to {now[:12]}, and its host has this commit no longer",
            "code": "commit_moved",
        },
    )


# What is built must be what was asked for


@dataclass(frozen=True)
class Deaf:
    """A builder that makes what it can, whatever platform it is asked for, as the classic one does."""

    builder: ImageBuilder
    description: str = "deaf"

    engine_platform: str = "linux/amd64"

    async def execution(self, platform: str) -> Execution:
        return Execution.UNKNOWN

    async def build(self, request: BuildRequest, deadline: Deadline, **others: Any) -> str | BuildFailure:
        return await self.builder.build(replace(request, platform="linux/amd64"), deadline, **others)


async def test_an_image_of_another_platform_is_never_tagged(
    server_of: ServerOf, builder: ImageBuilder, wanted: BuildIdentity
) -> None:
    async def choose() -> Any:
        return Deaf(builder)

    server = server_of(choose=choose)
    foreign = identity(wanted.template, wanted.commit, "linux/s390x")

    with pytest.raises(SourceError) as caught:
        await built(server, foreign)

    assert caught.value.code == "platform_unsupported"
    assert [
        await server.engine.image(f"{foreign.repository}:{tag}") for tag in (foreign.tag, foreign.floating_tag)
    ] == [
        None,
        None,
    ]


async def test_an_image_that_vanished_before_it_was_looked_at_is_never_tagged(
    server_of: ServerOf, proxy: EngineProxy, proxied: Engine, wanted: BuildIdentity
) -> None:
    proxy.faults.answer("GET", r"/images/sha256:\w+/json", status=404)
    with pytest.raises(UnavailableError) as caught:
        await built(server_of(engine=proxied), wanted)

    assert (caught.value.code, "was built, but the engine has it not" in caught.value.message) == ("engine_error", True)
    assert proxy.count("POST", "/images/.*/tag") == 0
