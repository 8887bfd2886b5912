"""``python -m workspace_server`` is the command ``workspace-server``."""

from workspace_server.cli.main import main

main()
