#!/bin/sh
# Starts as root: volumes may belong to anybody. What follows runs as the agent's own user.
set -e
mkdir -p /configs /workspace
chown -R agent:agent /configs /workspace
exec gosu agent "$@"
