"""``workspace-server secrets``: what is done to secrets at rest while no server runs."""

import asyncio

import typer

app = typer.Typer(help="Secrets at rest.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def secrets() -> None:
    """Hold the commands together: one alone would not be named."""


@app.command()
def rotate() -> None:
    """Seal every secret with a new key. The server must not run.

    With SECRETS_ENCRYPTION_KEY set, that is the new key, and SECRETS_ENCRYPTION_KEY_PREVIOUS the old one: unset it
    afterwards. Without, a new key is made in the data directory and the old one is forgotten.
    """
    from workspace_server.settings import load_settings  # noqa: PLC0415 - other commands start faster without it
    from workspace_server.wiring import rotating_secrets  # noqa: PLC0415

    async def run() -> int:
        async with rotating_secrets(load_settings()) as service:
            return await service.reseal()

    print(f"{asyncio.run(run())} secrets were sealed with the new key")
