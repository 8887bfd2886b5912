"""An agent that answers with what it was told: the smallest complete example of a workspace.

agent     what this agent does: the file to replace
a2a       the messages agents exchange: JSON-RPC in, JSON-RPC out, the agent card
endpoint  the HTTP server other programs talk to
presence  registering with the workspace server, heartbeats, the token
settings  the environment and config.yaml
"""
