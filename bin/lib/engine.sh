# The container engine: finds the one that the user's docker command reaches; as root installs and starts one.
#
# Sets engine_address and engine_version, and exports DOCKER_HOST for programs that do not read docker's contexts.

engine_default_address=unix:///var/run/docker.sock
engine_address=
engine_version=
engine_log=/var/log/dockerd.log
engine_started_by= # what this run started it with: systemd, dockerd, or nothing
dockerd_pid=

engine_find() {
    local in_context
    engine_address=${DOCKER_HOST:-$engine_default_address}
    if ! command -v docker >/dev/null; then
        problem="No container engine: install Docker (Debian, Ubuntu: apt-get install docker.io; else Docker Engine or Docker Desktop) and run this again."
        return 1
    fi
    if in_context=$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null); then
        engine_address=$in_context
    fi
    if engine_answers; then
        case $engine_address in unix://*) export DOCKER_HOST="$engine_address" ;; esac
        return 0
    fi
    engine_explain
    return 1
}

# engine_answers [DOCKER OPTION...]: also sets engine_version.
engine_answers() { engine_version=$(within 20 docker "$@" version --format '{{.Server.Version}}' 2>/dev/null); }

# within SECONDS COMMAND...: a remote engine may never answer. macOS has no `timeout`.
within() { if command -v timeout >/dev/null; then timeout "$@"; else "${@:2}"; fi; }

# Sets `problem` to why nothing answers at engine_address.
engine_explain() {
    local socket=${engine_address#unix://}
    if [ -S "$socket" ] && [ ! -w "$socket" ]; then
        problem="You may not use the container engine's socket $socket: run this as root, or have 'usermod -aG docker $(id -un)' run as root and log in again."
    elif engine_is_chosen; then
        problem="The container engine at $engine_address does not answer, and DOCKER_HOST or the docker context names it: start it, or choose another with 'unset DOCKER_HOST' or 'docker context use default'."
    elif command -v dockerd >/dev/null; then
        problem="The container engine is installed but not running: run this as root, or start it ('systemctl start docker' as root) and run this again."
    else
        problem="No container engine answers at $engine_address: start Docker, or install it (Debian, Ubuntu: apt-get install docker.io), and run this again."
    fi
}

# The user named an engine; another one in its place would be a surprise.
engine_is_chosen() { [ "$engine_address" != "$engine_default_address" ]; }

# engine_ensure: a reachable engine, installed and started where that is allowed.
engine_ensure() {
    engine_find && return 0
    ! engine_is_chosen || return 1
    engine_require_programs || return 1
    engine_find && return 0
    is_root || return 1
    engine_start && engine_find
}

# The daemon and the docker command. Where they may not be installed, `problem` stays what engine_find made it.
engine_require_programs() {
    local packages=(docker.io)
    if command -v docker && command -v dockerd; then return 0; fi >/dev/null
    can_install || return 1
    command -v ip >/dev/null || packages+=(iproute2)
    apt_install "${packages[@]}"
}

engine_start() {
    if [ -d /run/systemd/system ]; then
        show_note "starting the container engine (systemctl start docker)"
        engine_started_by=systemd
        if ! quietly systemctl start docker; then
            problem="systemctl could not start docker (above): see 'journalctl -u docker'."
            return 1
        fi
    else
        show_note "starting the container engine (dockerd, log: $engine_log)"
        host_prepare
        engine_started_by=dockerd
        engine_run_dockerd "$engine_log" "$engine_address"
    fi
}

# engine_stop: ends the engine if this run started it.
engine_stop() {
    case $engine_started_by in
        systemd) quietly systemctl stop docker.socket docker.service ;;
        dockerd) engine_end_dockerd && host_restore ;;
    esac
}

# engine_run_dockerd LOG ADDRESS [OPTION...]: starts a dockerd that outlives the terminal; returns when it answers at
# ADDRESS. Sets dockerd_pid.
engine_run_dockerd() {
    local log=$1 address=$2 attempt
    shift 2
    setsid dockerd "$@" </dev/null >>"$log" 2>&1 &
    dockerd_pid=$!
    for ((attempt = 0; attempt < 300; attempt++)); do
        ! engine_answers --host "$address" || return 0
        kill -0 "$dockerd_pid" 2>/dev/null || break
        sleep 0.2
    done
    clear_line
    tail -n 10 "$log" >&2
    engine_end_dockerd
    problem="dockerd does not start: the end of its log $log is above."
    return 1
}

# A dockerd that is asked to end stops its containers first, which may take a while.
engine_end_dockerd() {
    local attempt
    kill "$dockerd_pid" 2>/dev/null || return 0
    for ((attempt = 0; attempt < 300; attempt++)); do
        kill -0 "$dockerd_pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$dockerd_pid"
}
