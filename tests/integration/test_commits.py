"""A commit to a template's repository."""

from pathlib import Path

import pytest

from support import templates

from .site import LANGGRAPH, Site, quick_agent

pytestmark = [pytest.mark.engine, pytest.mark.slow]


async def test_the_next_workspace_runs_the_new_commit_and_the_old_one_goes_on(site: Site) -> None:
    repository = await site.template(LANGGRAPH, quick_agent())
    old_commit = repository.tip()
    old = await site.server.create(LANGGRAPH)
    await site.server.until(old, "online")
    before = await site.container(old)

    adapter = (Path(templates.__file__).parent / "template_like_real/adapter.py").read_text()
    adapter = adapter.replace("echo: {text}", "second: {text}")
    new_commit = await repository.commit({"adapter.py": adapter})
    new = await site.server.create(LANGGRAPH)
    await site.server.until(new, "online")

    assert await site.say(new, "hello") == "second: hello"
    assert await site.say(old, "hello") == "echo: hello"
    after = await site.container(old)
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])
    commits = [(await site.image(each))["Config"]["Labels"]["molecule.image.commit"] for each in (old, new)]
    assert commits == [old_commit, new_commit]
    second, first = await site.server.builds()
    assert second["reason"] == f"commit moved {old_commit[:12]} → {new_commit[:12]}"
    assert [each["commit"] for each in (first, second)] == [old_commit, new_commit]


async def test_a_commit_that_changes_no_file_of_the_image_is_another_image(site: Site) -> None:
    """What counts is the commit: its label says what runs."""
    repository = await site.template(LANGGRAPH, quick_agent())
    first = await site.server.create(LANGGRAPH)
    await site.server.until(first, "online")
    commit = await repository.commit({"README.md": "Nothing that is built.\n"})
    second = await site.server.create(LANGGRAPH)
    await site.server.until(second, "online")
    assert (await site.image(second))["Config"]["Labels"]["molecule.image.commit"] == commit
    assert (await site.image(first))["Id"] != (await site.image(second))["Id"]


async def test_a_commit_during_a_look_up_is_not_mixed_with_the_one_before(site: Site) -> None:
    """What was looked up is what is fetched, whatever the branch is by then."""
    repository = await site.template(LANGGRAPH, quick_agent())
    before = repository.tip()
    repository.faults.move_head_after(1, lambda: repository.commit({"later": "yes"}))
    workspace = await site.server.create(LANGGRAPH)
    await site.server.until(workspace, "online")
    assert repository.tip() != before
    assert (await site.image(workspace))["Config"]["Labels"]["molecule.image.commit"] == before


async def test_an_image_that_was_removed_is_built_again(site: Site) -> None:
    await site.template(LANGGRAPH, quick_agent())
    first = await site.server.create(LANGGRAPH)
    await site.server.until(first, "online")
    image = await site.image(first)
    await site.server.call("DELETE", f"/workspaces/{first}?purge=true")
    await site.is_gone(first)
    await site.engine.call("DELETE", f"/images/{image['Id']}", force="true")
    await site.server.until(await site.server.create(LANGGRAPH), "online")
    again, _ = await site.server.builds()
    assert again["reason"] == "image was removed"
    assert len(site.git.packs_sent()) == 1
