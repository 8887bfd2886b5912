"""What the commands of ``workspace-server workspaces`` do."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import typer
from rich.console import Console

from workspace_server.cli.client import Client, Event, error_of, open_own_client, path_of
from workspace_server.cli.display import phase_lines
from workspace_server.cli.messages import send_text, text_of
from workspace_server.cli.output import ago, json_text, one_line, print_json, print_table
from workspace_server.cli.watch import check_online, watch_provisioning
from workspace_server.errors import ConflictError, NotFoundError
from workspace_server.settings import current_environment
from workspace_server.text import plain

_MESSAGE_SECONDS = 360.0  # longer than the server waits for a silent agent
_SHORTEST_ID = 4
_COMMIT = 12


def _call(work: Callable[[Client], Awaitable[Any]]) -> Any:
    async def calling() -> Any:
        async with open_own_client() as client:
            return await work(client)

    return asyncio.run(calling())


async def _find(client: Client, wanted: str) -> Any:
    """The workspace of that name or id, or whose id begins so. Raises NotFoundError, and ConflictError for several."""
    present = await client.call("GET", "/workspaces")
    found = (
        [each for each in present if each["id"] == wanted]
        or [each for each in present if each["name"] == wanted]
        or [each for each in present if each["id"].startswith(wanted) and len(wanted) >= _SHORTEST_ID]
    )
    if not found and _is_id(wanted):
        return await client.call("GET", path_of("workspaces", wanted))  # one that was removed
    if not found:
        raise NotFoundError(
            f"there is no workspace {wanted}", code="workspace_not_found", hint="workspace-server workspaces list"
        )
    if len(found) > 1:
        ids = ", ".join(each["id"] for each in found)
        raise ConflictError(
            f"several workspaces are called {wanted}", code="ambiguous_workspace", hint=f"use an id: {ids}"
        )
    return found[0]


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def create(wish: Mapping[str, Any], *, parent: str, secrets: Sequence[str], wait: bool, as_json: bool) -> None:
    """Create a workspace, and show how it comes up. ``secrets`` are names of variables of this process."""
    body = {**wish, "secrets": _own_variables(secrets)}

    async def work(client: Client) -> Any:
        above = {"parent_id": (await _find(client, parent))["id"]} if parent else {}
        created = await client.call("POST", "/workspaces", body | above)
        if not as_json:
            print(f"created: {created['id']}")
        return await _provisioned(client, created["id"], created, wait=wait, as_json=as_json)

    _tell_the_end(_call(work), wait=wait, as_json=as_json)


def _own_variables(names: Sequence[str]) -> Mapping[str, str]:
    environment = current_environment()
    for name in names:
        if name not in environment:
            raise typer.BadParameter(f"there is no variable {name} in this shell", param_hint="--secret")
    return {name: environment[name] for name in names}


async def _provisioned(client: Client, workspace_id: str, answer: Any, *, wait: bool, as_json: bool) -> Any:
    """How the provisioning ended, shown while it lasts; ``answer`` as it is when nobody waits."""
    if not wait:
        return answer
    try:
        return await watch_provisioning(client, workspace_id, None if as_json else Console(highlight=False))
    except asyncio.CancelledError:  # Ctrl-C
        print(f"it goes on; to see how far it is: workspace-server workspaces show {workspace_id}", file=sys.stderr)
        raise


def _tell_the_end(view: Any, *, wait: bool, as_json: bool) -> None:
    """Raises the error that the provisioning ended with."""
    if as_json:
        print_json(view)
    if wait:
        check_online(view)
    if not as_json:
        print(f"online: {view['workspace_id']}" if wait else f"being provisioned: {view['id']}")


def list_workspaces(*, as_json: bool) -> None:
    """Print the workspaces."""
    found = _call(lambda client: client.call("GET", "/workspaces"))
    if as_json:
        print_json(found)
        return
    names = {each["id"]: each["name"] for each in found}
    print_table(
        ["name", "id", "runtime", "tier", "status", "below", "works on, or failed with"],
        [
            [
                one_line(each["name"]),
                each["id"],
                each["runtime"],
                str(each["tier"]),
                each["status"],
                one_line(names.get(each["parent_id"], "")),
                _note(each),
            ]
            for each in found
        ],
    )


def _note(workspace: Any) -> str:
    """The first line of why it is as it is."""
    text = workspace["last_sample_error"] if workspace["status"] != "online" else workspace["current_task"]
    return one_line((text or "").partition("\n")[0])


def show(workspace: str, *, as_json: bool) -> None:
    """Print a workspace and how far it is."""

    async def work(client: Client) -> Any:
        found = await _find(client, workspace)
        return found | {"provisioning": await client.call("GET", path_of("workspaces", found["id"], "provisioning"))}

    found = _call(work)
    if as_json:
        print_json(found)
        return
    view = found["provisioning"]
    facts = {
        "name": found["name"],
        "id": found["id"],
        "status": found["status"],
        "runtime": found["runtime"],
        "tier": str(found["tier"]),
        "role": found["role"],
        "below": found["parent_id"],
        "image": _image(view["image"]),
        "build": view["build"] and view["build"]["id"],
        "task": found.get("current_task"),
    }
    for name, value in facts.items():
        if value:
            print(f"{name:<9}{one_line(value)}")
    for line in phase_lines(view):
        print(line)
    if view["error"]:
        print(plain(f"error: {error_of(view['error'])}"))


def _image(image: Any) -> str:
    if image is None or image["id"] is None:
        return ""
    made_from = str(image["commit"] or image["digest"] or "").removeprefix("sha256:")[:_COMMIT]
    built = f", built {ago(image['built_at'])}" if image["built_at"] else ""
    return f"{image['id'].removeprefix('sha256:')[:_COMMIT]}, {image['source']} {made_from}{built}"


def print_logs(workspace: str, *, tail: int, follow: bool, as_json: bool) -> None:
    """Print what the workspace's container wrote, or follow it to its end."""

    async def work(client: Client) -> None:
        found = await _find(client, workspace)
        path = f"{path_of('workspaces', found['id'], 'logs')}?tail={tail}"
        if not follow:
            text = plain(await client.text(path))
            print_json(text.splitlines()) if as_json else print(
                text, end="" if text.endswith("\n") or not text else "\n"
            )
            return
        async for event in client.events(f"{path}&follow=1", "end"):
            _print_event(event, as_json=as_json)

    _call(work)


def _print_event(event: Event, *, as_json: bool) -> None:
    if as_json:
        print(json_text(event), flush=True)
    elif event["event"] == "line":
        print(plain(event["data"]["text"]), flush=True)
    elif event["data"]["exit_code"] is not None:
        print(f"the container ended with exit code {event['data']['exit_code']}", file=sys.stderr)


def message(workspace: str, text: str, *, as_json: bool) -> None:
    """Send a text to the workspace's agent, and print what it answers."""
    told = sys.stdin.read() if text == "-" else text

    async def work(client: Client) -> Any:
        found = await _find(client, workspace)
        return await send_text(client, found["id"], told, seconds=_MESSAGE_SECONDS)

    reply = _call(work)
    if as_json:
        print_json(reply)
    said = text_of(reply)
    if not as_json:
        print(plain(said))


def restart(workspace: str, wish: Mapping[str, Any], *, wait: bool, as_json: bool) -> None:
    """Provision a workspace again, and show how it comes up."""
    _provision_again(workspace, "restart", wish, wait=wait, as_json=as_json)


def resume(workspace: str, *, wait: bool, as_json: bool) -> None:
    """Start a paused workspace, and show how it comes up."""
    _provision_again(workspace, "resume", {}, wait=wait, as_json=as_json)


def _provision_again(workspace: str, route: str, wish: Mapping[str, Any], *, wait: bool, as_json: bool) -> None:
    async def work(client: Client) -> Any:
        found = await _find(client, workspace)
        answer = await client.call("POST", path_of("workspaces", found["id"], route), wish)
        return await _provisioned(client, found["id"], {"id": found["id"], **answer}, wait=wait, as_json=as_json)

    _tell_the_end(_call(work), wait=wait, as_json=as_json)


def pause(workspace: str, *, as_json: bool) -> None:
    """Stop a workspace and all below it."""

    async def work(client: Client) -> Any:
        found = await _find(client, workspace)
        return await client.call("POST", path_of("workspaces", found["id"], "pause"))

    answer = _call(work)
    if as_json:
        print_json(answer)
    else:
        print(f"paused: {_counted(answer['paused_count'])}")


def delete(workspace: str, *, purge: bool, confirmed: bool, as_json: bool) -> None:
    """Remove a workspace and all below it, when the person says so."""

    async def look(client: Client) -> tuple[Any, int]:
        found = await _find(client, workspace)
        return found, _count_below(await client.call("GET", "/workspaces"), found["id"])

    found, below = _call(look)
    if not confirmed:
        _ask(found, below, purge=purge)
    query = {"confirm": "true"} | ({"purge": "true"} if purge else {})
    answer = _call(lambda client: client.call("DELETE", path_of("workspaces", found["id"]), query=query))
    if as_json:
        print_json(answer)
    else:
        print(f"{answer['status']}: {_counted(1 + answer['cascade_deleted'])}")


def _ask(found: Any, below: int, *, purge: bool) -> None:
    """Raises ConflictError ``confirmation_required`` where nobody can be asked, typer.Abort when the answer is no."""
    also = f" and {_counted(below)} below it" if below else ""
    files = ", with all files" if purge else ""
    what = f"remove {one_line(found['name'])} ({found['id']}){also}{files}"
    if not sys.stdin.isatty():
        raise ConflictError(f"nobody said yes to: {what}", code="confirmation_required", hint="repeat with --yes")
    typer.confirm(f"{what}?", abort=True, err=True)


def _count_below(present: Sequence[Any], workspace_id: str) -> int:
    children = [each["id"] for each in present if each["parent_id"] == workspace_id]
    return len(children) + sum(_count_below(present, child) for child in children)


def _counted(count: int) -> str:
    return f"{count} workspace{'' if count == 1 else 's'}"
