# A container engine for one run only: own socket, own data, nothing left when the run ends.
#
# It works in the host's network, because its containers need the network. Two engines in one network would take each
# other's bridge and rules away, so it starts only where no other dockerd runs.

private_engine= # its directory

# What a dockerd makes outside of the directories that it is given.
private_engine_traces=(/etc/docker/key.json /etc/docker /run/docker/plugins /run/docker /run/containerd/s /run/containerd
    /run/runc)

# private_engine_start: after engine_find failed; `problem` stays what that made it where this may not help.
private_engine_start() {
    local other
    is_root && ! engine_is_chosen || return 1
    engine_require_programs || return 1
    other=$(private_engine_other)
    if [ -n "$other" ]; then
        problem="A dockerd runs (process $other) but does not answer at $engine_address: set DOCKER_HOST to its address, or end it."
        return 1
    fi
    show_doing "container engine for this run"
    host_prepare
    private_engine_remember_traces
    # A short path, because a socket's may have 107 characters; not in /tmp, which may be memory.
    private_engine=$(mktemp -d /var/tmp/engine.XXXXXX)
    at_exit private_engine_stop
    engine_address=unix://$private_engine/sock
    # The host's own daemon.json is for the host's engine.
    echo '{}' >"$private_engine/config.json"
    engine_run_dockerd "$private_engine/log" "$engine_address" --host "$engine_address" \
        --config-file "$private_engine/config.json" --data-root "$private_engine/data" \
        --exec-root "$private_engine/run" --pidfile "$private_engine/pid" || return 1
    export DOCKER_HOST="$engine_address"
}

private_engine_stop() {
    docker --host "$engine_address" ps --all --quiet 2>/dev/null |
        xargs -r docker --host "$engine_address" rm --force >/dev/null || true
    engine_end_dockerd
    private_engine_end_rest
    host_restore
    rm -df -- "${private_engine_new_traces[@]}" 2>/dev/null || true # not what another engine has begun to use
    remove_tree "$private_engine"
}

private_engine_remember_traces() {
    local path
    private_engine_new_traces=()
    for path in "${private_engine_traces[@]}"; do
        [ -e "$path" ] || private_engine_new_traces+=("$path")
    done
}

# The processes of every dockerd in this network namespace.
private_engine_other() {
    local process
    grep -lx dockerd /proc/[0-9]*/comm 2>/dev/null | while IFS=/ read -r _ _ process _; do
        [ "$(readlink "/proc/$process/ns/net")" != "$(readlink /proc/self/ns/net)" ] || echo "$process"
    done || true
}

# A dockerd that was killed leaves its containerd, the shims and the containers behind.
private_engine_end_rest() {
    local process containers
    containers=$(ls "$private_engine/data/containers" 2>/dev/null || true)
    {
        grep -lF -- "$private_engine/" /proc/[0-9]*/cmdline
        [ -z "$containers" ] || grep -lF -- "$containers" /proc/[0-9]*/cgroup
    } 2>/dev/null | while IFS=/ read -r _ _ process _; do kill -KILL "$process" 2>/dev/null || true; done || true
}
