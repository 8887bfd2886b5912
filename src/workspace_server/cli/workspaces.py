"""``workspace-server workspaces``: its commands and their options.

What they do is in ``workspace_calls``, imported when one was chosen: the help and the server start faster without it.
"""

from typing import Annotated

import typer

app = typer.Typer(
    help="Workspaces: their agents' containers, from the first to the last day.",
    epilog="They ask the server that the same environment starts: PORT, ADMIN_TOKEN, MOLECULE_DATA_DIR.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Workspace = Annotated[str, typer.Argument(help="A workspace's name, its id, or the first characters of its id.")]
Json = Annotated[bool, typer.Option("--json", help="Print the server's answer as JSON.")]
ViewJson = Annotated[bool, typer.Option("--json", help="Show nothing, print how the provisioning ended as JSON.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait until its agent is there.")]


@app.command(
    epilog="Example: workspace-server workspaces create reviewer --runtime claude-code --secret ANTHROPIC_API_KEY"
)
def create(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    *,
    runtime: Annotated[str, typer.Option("--runtime", help="Kind of agent; default langgraph.")] = "",
    role: Annotated[str, typer.Option("--role", help="What it is for.")] = "",
    model: Annotated[str, typer.Option("--model", help="Language model, when the runtime has one.")] = "",
    tier: Annotated[
        int | None, typer.Option("--tier", help="1 sandboxed, 2 standard, 3 privileged, 4 full host.", min=1, max=4)
    ] = None,
    parent: Annotated[str, typer.Option("--parent", help="Name or id of the workspace above it.")] = "",
    template: Annotated[str, typer.Option("--template", help="Config template, a folder of CONFIGS_DIR.")] = "",
    directory: Annotated[str, typer.Option("--dir", help="Directory of the server's machine as its /workspace.")] = "",
    access: Annotated[str, typer.Option("--access", help="What it may do there: none, read_only, read_write.")] = "",
    secret: Annotated[
        list[str] | None, typer.Option("--secret", help="Variable of this shell that its container gets, kept sealed.")
    ] = None,
    no_wait: NoWait = False,
    as_json: ViewJson = False,
) -> None:
    """Create a workspace and wait for its agent.

    Its image is pulled or built first, which is shown step by step; the first build of a runtime takes minutes. The
    command ends when the agent has called the server, or with the reason why it did not.

    --secret takes the name of a variable, not its value, so that no value is in the shell's history. Ctrl-C ends the
    display only: the workspace goes on.
    """
    from workspace_server.cli import workspace_calls  # noqa: PLC0415 - see above

    wish = {
        "name": name,
        "runtime": runtime,
        "role": role,
        "model": model,
        "tier": tier,
        "template": template,
        "workspace_dir": directory,
        "workspace_access": access,
    }
    workspace_calls.create(wish, parent=parent, secrets=secret or [], wait=not no_wait, as_json=as_json)


@app.command("list")
def list_workspaces(as_json: Json = False) -> None:  # noqa: FBT002 - Typer's flag
    """List the workspaces, oldest first."""
    from workspace_server.cli import workspace_calls  # noqa: PLC0415 - see above

    workspace_calls.list_workspaces(as_json=as_json)


@app.command(epilog="Example: workspace-server workspaces show reviewer")
def show(
    workspace: Workspace,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, with its provisioning.")] = False,  # noqa: FBT002
) -> None:
    """Show a workspace and how far it is.

    What it runs, the steps of its last provisioning, and why that failed, if it did.
    """
    from workspace_server.cli import workspace_calls  # noqa: PLC0415 - see above

    workspace_calls.show(workspace, as_json=as_json)


@app.command(epilog="Example: workspace-server workspaces logs -f reviewer")
def logs(
    workspace: Workspace,
    tail: Annotated[int, typer.Option("--tail", help="So many of the last lines.", min=0, max=10_000)] = 200,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the container ends.")] = False,  # noqa: FBT002
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array of the lines; with -f, events.")] = False,  # noqa: FBT002
) -> None:
    """Print what its container writes.

    stdout and stderr of the container that it has now; a restart begins a new one.

    With --json and -f, each line is one of the server's events as it comes: {"event", "data"}. The event is `line` or
    `end`; the data of `end` has the container's exit code.
    """
    from workspace_server.cli import workspace_calls  # noqa: PLC0415 - see above

    workspace_calls.print_logs(workspace, tail=tail, follow=follow, as_json=as_json)


@app.command(epilog='Example: workspace-server workspaces message reviewer "What did you find?"')
def message(
    workspace: Workspace,
    text: Annotated[str, typer.Argument(help="What to tell its agent; - reads it from standard input.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the agent's whole answer, JSON-RPC.")] = False,  # noqa: FBT002
) -> None:
    """Send a message to its agent, and print the answer.

    A workspace that hibernates is woken by it: then send the message again a little later.
    """
    from workspace_server.cli import workspace_calls  # noqa: PLC0415 - see above

    workspace_calls.message(workspace, text, as_json=as_json)


@app.command(epilog="Example: workspace-server workspaces restart reviewer")
def restart(
    workspace: Workspace,
    *,
    template: Annotated[str, typer.Option("--template", help="Write its configuration anew, from this template.")] = "",
    apply_template: Annotated[
        bool, typer.Option("--apply-template", help="Write it anew, from the template of its name or of its runtime.")
    ] = False,
    rebuild_config: Annotated[
        bool, typer.Option("--rebuild-config", help="Write it anew, as a new workspace would get it.")
    ] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Forget its agent's session.")] = False,
    no_wait: NoWait = False,
    as_json: ViewJson = False,
) -> None:
    """Provision it again, with the newest image.

    The old container runs until the image is there. Its files stay, and so does a configuration that somebody edited,
    unless an option says otherwise. It gets its secrets of now.
    """
    from workspace_server.cli import workspace_calls  # noqa: PLC0415 - see above

    wish = {
        "template": template,
        "apply_template": apply_template,
        "rebuild_config": rebuild_config,
        "reset": reset,
    }
    workspace_calls.restart(workspace, wish, wait=not no_wait, as_json=as_json)


@app.command(epilog="Example: workspace-server workspaces pause reviewer")
def pause(workspace: Workspace, as_json: Json = False) -> None:  # noqa: FBT002
    """Stop it and all workspaces below it.

    Their containers go, their files stay. Nothing but `resume` or `restart` starts them again.
    """
    from workspace_server.cli import workspace_calls  # noqa: PLC0415 - see above

    workspace_calls.pause(workspace, as_json=as_json)


@app.command(epilog="Example: workspace-server workspaces resume reviewer")
def resume(
    workspace: Workspace,
    no_wait: NoWait = False,  # noqa: FBT002
    as_json: ViewJson = False,  # noqa: FBT002
) -> None:
    """Start it and all paused workspaces below it.

    They run the images that they had. The command waits for the agent of the one that is named.
    """
    from workspace_server.cli import workspace_calls  # noqa: PLC0415 - see above

    workspace_calls.resume(workspace, wait=not no_wait, as_json=as_json)


@app.command(epilog="Example: workspace-server workspaces delete reviewer --purge")
def delete(
    workspace: Workspace,
    purge: Annotated[bool, typer.Option("--purge", help="Remove its files and its record, too.")] = False,  # noqa: FBT002
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,  # noqa: FBT002
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Remove it and all workspaces below it.

    Containers and configurations go; what lies in /workspace stays unless --purge is given, and can be purged later.
    It asks before; where there is no terminal to ask, --yes is needed.
    """
    from workspace_server.cli import workspace_calls  # noqa: PLC0415 - see above

    workspace_calls.delete(workspace, purge=purge, confirmed=yes, as_json=as_json)
