"""What images there are, and what the next workspace of a runtime would find: asked, never changed."""

import asyncio
import os
from datetime import UTC, datetime

import pytest

from support.engine import Engine as Api
from support.engine_proxy import EngineProxy
from support.git_repository import Repository
from support.git_server import GitServer
from workspace_server.engine import Engine
from workspace_server.errors import SourceError, TemplateError
from workspace_server.images import ImageSource, LocalBuildSource, RegistrySource
from workspace_server.images.lookup import Hit, Miss
from workspace_server.images.survey import Explanation, RuntimeInfo, Survey
from workspace_server.model import names
from workspace_server.model.build import BuildState
from workspace_server.model.reference import RegistryPrefix
from workspace_server.runtimes import Runtimes, Template

from .conftest import Heard, Server, ServerOf
from .making import COMMIT, identity, labels_of, load_image, made_image
from .making import template as template_at

pytestmark = pytest.mark.engine

LOCAL = LocalBuildSource(platform="linux/amd64")
NOBODYS = RegistrySource(prefix=RegistryPrefix.parse("127.0.0.1:1/team"), platform=None)


def survey_of(server: Server, *templates: Template, source: ImageSource = LOCAL) -> Survey:
    return Survey(
        source=source,
        runtimes=Runtimes({each.runtime: each for each in templates}),
        engine=server.engine,
        resolver=server.resolver,
        book=server.book,
        ledger=server.ledger,
        wanted=server.wanted,
        known_failure=server.builds.known_failure,
        registry=server.registry,
    )


@pytest.fixture
def survey(server: Server, template: Template) -> Survey:
    return survey_of(server, template)


async def made(api: Api, server: Server, template: Template, commit: str, platform: str = "linux/amd64") -> str:
    """An image as a build of the commit leaves it."""
    build = identity(template, commit, platform)
    tags = (f"{build.repository}:{build.tag}", f"{build.repository}:{build.floating_tag}")
    return await made_image(api, server.ledger, build, *tags)


async def contained(api: Api, image: str, workspace: str) -> str:
    """A container of a workspace, never started; it goes with the image's runtime."""
    labels = {names.MANAGED: "true", names.WORKSPACE_ID: workspace}
    body = {"Image": image, "Cmd": ["/file"], "Labels": labels}
    return str((await api.call("POST", "/containers/create", body))["Id"])


async def the_runtime(survey: Survey) -> RuntimeInfo:
    (info,) = await survey.runtimes()
    return info


# Runtimes


async def test_a_runtime_whose_template_is_there_can_be_provisioned(
    survey: Survey, template: Template, repository: Repository
) -> None:
    info = await the_runtime(survey)

    assert (info.name, info.source, info.template, info.head, info.reason, info.image) == (
        template.runtime,
        "local-build",
        repository.url,
        repository.tip(),
        None,
        None,
    )


async def test_a_runtime_whose_repository_is_missing_says_so(server: Server, git_host: GitServer, runtime: str) -> None:
    missing = template_at(runtime, f"{git_host.repo_prefix}{runtime}")
    info = await the_runtime(survey_of(server, missing))

    assert info.reason is not None
    assert (info.reason.code, str(missing.url) in info.reason.message, info.head) == (
        "template_repo_missing",
        True,
        None,
    )


async def test_one_missing_repository_says_nothing_of_the_others(
    server: Server, git_host: GitServer, template: Template
) -> None:
    missing = template_at(f"{template.runtime}-2", f"{git_host.repo_prefix}missing")
    infos = await survey_of(server, template, missing).runtimes()

    assert [(info.name, info.reason is None) for info in infos] == [(template.runtime, True), (missing.runtime, False)]


async def test_a_runtime_of_a_host_that_is_away_says_so(survey: Survey, git_host: GitServer) -> None:
    await git_host.stop()
    info = await the_runtime(survey)

    assert info.reason is not None
    assert info.reason.code == "git_unreachable"


async def test_a_runtime_shows_its_newest_image_also_of_an_older_commit(
    api: Api, survey: Survey, template: Template, server: Server
) -> None:
    await made(api, server, template, "1" * 40)
    newest = await made(api, server, template, "2" * 40)
    info = await the_runtime(survey)

    assert info.image is not None
    assert (info.image.image.id, info.image.label(names.COMMIT)) == (newest, "2" * 40)


async def test_a_runtime_shows_no_image_of_another_source(
    api: Api, survey: Survey, template: Template, server: Server
) -> None:
    await made(api, server, template_at(template.runtime), COMMIT)

    assert (await the_runtime(survey)).image is None


async def test_an_image_is_shown_by_the_tag_of_its_commit(
    api: Api, survey: Survey, template: Template, server: Server
) -> None:
    await made(api, server, template, COMMIT)
    info = await the_runtime(survey)

    assert info.image is not None
    assert info.image.tag == f"{identity(template).repository}:{identity(template).tag}"


FAILED = TemplateError("step 2 of 3 failed", code="build_failed")


async def test_a_runtime_whose_newest_commit_failed_to_build_says_so(
    survey: Survey, server: Server, template: Template, repository: Repository
) -> None:
    server.builds._memory.remember(identity(template, repository.tip()).build_id, FAILED)
    info = await the_runtime(survey)

    assert info.reason is not None
    assert (info.reason.code, info.reason.message, info.head) == ("build_failed", FAILED.message, repository.tip())


async def test_a_failure_of_another_commit_is_no_reason(survey: Survey, server: Server, template: Template) -> None:
    server.builds._memory.remember(identity(template).build_id, FAILED)

    assert (await the_runtime(survey)).reason is None


async def test_a_failure_is_no_reason_when_the_image_is_here_all_the_same(
    api: Api, survey: Survey, server: Server, template: Template, repository: Repository
) -> None:
    server.builds._memory.remember(identity(template, repository.tip()).build_id, FAILED)
    await made(api, server, template, repository.tip())

    assert (await the_runtime(survey)).reason is None


async def test_a_failure_is_a_reason_when_only_an_image_of_another_commit_is_here(
    api: Api, survey: Survey, server: Server, template: Template, repository: Repository
) -> None:
    server.builds._memory.remember(identity(template, repository.tip()).build_id, FAILED)
    await made(api, server, template, COMMIT)
    info = await the_runtime(survey)

    assert (info.image is not None, info.reason and info.reason.code) == (True, "build_failed")


@pytest.mark.parametrize("platform", ["linux/amd64", None])
async def test_with_the_engine_away_every_runtime_is_listed_with_that_reason(
    server_of: ServerOf, proxied: Engine, proxy: EngineProxy, template: Template, platform: str | None
) -> None:
    await proxy.down()
    other = template_at(f"{template.runtime}-2", str(template.url))
    source = LocalBuildSource(platform=platform)
    infos = await survey_of(server_of(engine=proxied), template, other, source=source).runtimes()

    assert [(info.name, info.image, info.reason and info.reason.code) for info in infos] == [
        (template.runtime, None, "engine_unavailable"),
        (other.runtime, None, "engine_unavailable"),
    ]


async def test_with_the_engine_away_the_newest_commit_is_shown_all_the_same(
    server_of: ServerOf, proxied: Engine, proxy: EngineProxy, template: Template, repository: Repository
) -> None:
    await proxy.down()

    assert (await the_runtime(survey_of(server_of(engine=proxied), template))).head == repository.tip()


async def test_engine_and_git_host_are_asked_side_by_side(
    server_of: ServerOf, proxied: Engine, proxy: EngineProxy, git_host: GitServer, template: Template
) -> None:
    silent = proxy.faults.hold("GET", "/images/json")
    asked = asyncio.create_task(the_runtime(survey_of(server_of(engine=proxied), template)))
    await silent.arrived.wait()
    while not git_host.requests:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0)
    proxy.faults.remove(silent)

    assert (await asked).reason is None


async def test_in_registry_mode_with_the_engine_away_that_is_the_reason(
    server_of: ServerOf, proxied: Engine, proxy: EngineProxy, template: Template
) -> None:
    await proxy.down()
    info = await the_runtime(survey_of(server_of(engine=proxied), template, source=NOBODYS))

    assert (info.image, info.reason and info.reason.code) == (None, "engine_unavailable")


async def test_in_registry_mode_no_git_host_is_asked(server: Server, template: Template, git_host: GitServer) -> None:
    info = await the_runtime(survey_of(server, template, source=NOBODYS))

    assert (info.source, info.template, git_host.requests) == ("registry", None, [])


# Images


async def test_the_images_are_newest_first(api: Api, survey: Survey, template: Template, server: Server) -> None:
    images = [await made(api, server, template, f"{number}" * 40) for number in (2, 3, 1)]
    found = [each.image.id for each in await survey.images() if each.image.id in images]

    assert found == images[::-1]


async def test_an_image_names_the_workspaces_whose_containers_use_it(
    api: Api, survey: Survey, template: Template, server: Server
) -> None:
    image = await made(api, server, template, COMMIT)
    containers = [await contained(api, image, workspace) for workspace in ("w2", "w1", "w1")]
    try:
        (found,) = [each for each in await survey.images() if each.image.id == image]
    finally:
        for container in containers:
            await api.call("DELETE", f"/containers/{container}")

    assert found.in_use_by == ("w1", "w2")


async def test_an_image_says_when_this_cache_used_it(
    api: Api, survey: Survey, server: Server, template: Template
) -> None:
    image = await made(api, server, template, COMMIT)
    os.utime(server.ledger._file(image), (0, 0))
    (found,) = [each for each in await survey.images() if each.image.id == image]

    assert found.made.used_at == datetime.fromtimestamp(0, UTC)


async def test_what_no_build_of_this_cache_made_is_not_listed(api: Api, survey: Survey, template: Template) -> None:
    """Of another installation on this engine, or built FROM one of ours: it inherits the labels."""
    other = await load_image(api, labels=labels_of(identity(template)))

    assert other not in [each.image.id for each in await survey.images()]


# Explain


async def test_a_hit_shows_the_image(
    api: Api, survey: Survey, template: Template, repository: Repository, server: Server
) -> None:
    image = await made(api, server, template, repository.tip())
    answer = await survey.explain(template.runtime, LOCAL)

    assert isinstance(answer.found, Hit)
    assert (answer.found.image.id, answer.estimate_seconds) == (image, None)


async def test_a_miss_says_why(
    api: Api, survey: Survey, template: Template, repository: Repository, server: Server
) -> None:
    await made(api, server, template, COMMIT)
    answer = await survey.explain(template.runtime, LOCAL)

    assert answer.found == Miss(reason="commit moved", detail=f"{COMMIT[:12]} → {repository.tip()[:12]}")


async def test_the_parts_of_the_build_id_are_shown(survey: Survey, template: Template, repository: Repository) -> None:
    expected = identity(template, repository.tip())

    assert await survey.explain(template.runtime, LOCAL) == Explanation(
        runtime=template.runtime,
        found=Miss(reason="no image"),
        stale=False,
        built_at=None,
        build_id=expected.build_id,
        parts=expected.parts,
        estimate_seconds=None,
    )


async def test_without_a_preference_the_engines_platform_counts(
    survey: Survey, server: Server, template: Template
) -> None:
    answer = await survey.explain(template.runtime, LocalBuildSource(platform=None))

    assert answer.parts["platform"] == (await server.engine.info()).platform


async def test_an_image_that_was_removed_is_explained(
    survey: Survey, server: Server, template: Template, api: Api
) -> None:
    image = await server.service(template).ensure(template.runtime, Heard())
    await api.call("DELETE", f"/images/{image.id}", force="true")

    assert (await survey.explain(template.runtime, LOCAL)).found == Miss(reason="image was removed")


async def test_a_miss_estimates_by_the_runtimes_last_build(survey: Survey, server: Server, template: Template) -> None:
    wanted = identity(template)
    for seconds in (500, 312):
        record = server.book.open(wanted, "no image")
        server.book.update(record.id, started_at=datetime.fromtimestamp(datetime.now(UTC).timestamp() - seconds, UTC))
        server.book.close(record.id, BuildState.SUCCEEDED)
    server.book.close(server.book.open(wanted, "no image").id, BuildState.FAILED)

    assert (await survey.explain(template.runtime, LOCAL)).estimate_seconds == 312


async def test_explaining_fetches_and_builds_nothing(
    survey: Survey, server: Server, template: Template, *, git_host: GitServer, api: Api
) -> None:
    await survey.explain(template.runtime, LOCAL)

    images = await api.listed("/images/json", label=f"{names.RUNTIME}={template.runtime}")
    assert (git_host.pack_requests(), len(git_host.requests), server.book.newest(), images) == ([], 1, [], [])


async def test_explaining_is_no_use_of_the_image(
    api: Api, survey: Survey, server: Server, *, template: Template, repository: Repository
) -> None:
    image = await made(api, server, template, repository.tip())
    os.utime(server.ledger._file(image), (0, 0))
    await survey.explain(template.runtime, LOCAL)

    known = server.ledger.find(image)
    assert known is not None
    assert known.used_at == datetime.fromtimestamp(0, UTC)


async def test_a_missing_repository_cannot_be_explained(server: Server, git_host: GitServer, runtime: str) -> None:
    missing = template_at(runtime, f"{git_host.repo_prefix}{runtime}")

    with pytest.raises(SourceError) as caught:
        await survey_of(server, missing).explain(runtime, LOCAL)
    assert caught.value.code == "template_repo_missing"
