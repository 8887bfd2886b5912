# The Python environment .venv: exactly what the lock file names, by hash, and this project in editable form.
#
# Works in the repository's directory.

python_oldest_minor=11

# Tells what Python CANDIDATE is: `ready`, `3.x` (new enough, but cannot make environments), or nothing.
python_describe() {
    "$1" - "$python_oldest_minor" 2>/dev/null <<'EOP' || true
import importlib.util, sys
if sys.version_info >= (3, int(sys.argv[1])):
    complete = importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")
    print("ready" if complete else "3.%d" % sys.version_info.minor)
EOP
}

# Sets `python` to an interpreter that can make an environment, else `python_incomplete` to a version that could.
python_find() {
    local candidate description
    python='' python_incomplete=''
    for candidate in python3.11 python3.12 python3.13 python3.14 python3; do
        description=$(python_describe "$candidate")
        case $description in
            ready) python=$candidate && return 0 ;;
            3.*) python_incomplete=${python_incomplete:-$description} ;;
        esac
    done
    return 1
}

python_require() {
    python_find && return 0
    if [ -z "$python_incomplete" ]; then
        problem="Python 3.$python_oldest_minor or newer is missing: install it (Debian 12, Ubuntu 24.04: apt-get install python3-venv) and run this again."
        return 1
    fi
    # Debian ships the interpreter without the part that fills an environment.
    if can_install; then
        apt_install "python$python_incomplete-venv" || return 1
        python_find && return 0
    fi
    problem="Python $python_incomplete cannot make a virtual environment: install its venv and ensurepip modules (Debian, Ubuntu: apt-get install python$python_incomplete-venv) and run this again."
    return 1
}

# What an environment installed from LOCK depends on. All lock files count: they change together.
python_recipe() {
    printf '%s\n' "$root" "$1"
    cat pyproject.toml requirements*.lock
}

# The lock file for development contains the other one, so its environment serves both.
python_is_current() {
    local lock
    .venv/bin/python -c '' 2>/dev/null || return 1
    for lock in "$1" requirements-dev.lock; do
        [ "$(python_recipe "$lock")" != "$(cat .venv/.installed 2>/dev/null)" ] || return 0
    done
    return 1
}

# An environment cannot be moved: its commands name the interpreter by path.
python_is_usable() {
    [ "$(python_describe .venv/bin/python)" = ready ] && grep -qF "$root/.venv/bin/python" .venv/bin/pip 2>/dev/null
}

# python_environment LOCK: makes .venv, or brings it up to date when pyproject.toml or a lock file has changed.
python_environment() {
    python_is_current "$1" && return 0
    show_doing "python environment (.venv)"
    if ! python_is_usable; then
        python_require || return 1
        if ! quietly "$python" -m venv --clear .venv; then
            problem="$python could not make the environment .venv (above)."
            return 1
        fi
    fi
    rm -f .venv/.installed
    if ! python_install --require-hashes --requirement "$1" || ! python_install --no-deps --no-build-isolation --editable .; then
        problem="pip could not install $1 and the project into .venv (above)."
        return 1
    fi
    # Last, so that an interrupted installation is done again.
    python_recipe "$1" >.venv/.installed
}

python_install() { quietly .venv/bin/python -m pip --quiet --disable-pip-version-check --no-input install "$@"; }
