# Debian packages: installed only as root on Debian or Ubuntu, never under --no-install, and never without a word.

# `su` without `-` leaves these out of root's PATH; dockerd, debootstrap and iptables live there.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

install_allowed=yes # --no-install sets it to no
apt_lists_are_fresh=no

is_root() { [ "$(id -u)" -eq 0 ]; }

is_debian_or_ubuntu() { [ -r /etc/os-release ] && grep -Eq '^ID="?(debian|ubuntu)"?$' /etc/os-release; }

can_install() { [ "$install_allowed" = yes ] && is_root && is_debian_or_ubuntu; }

apt_get() {
    # A machine that has just booted often holds the lock for its own upgrades.
    quietly env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -o DPkg::Lock::Timeout=120 -y "$@"
}

apt_update() {
    [ "$apt_lists_are_fresh" = no ] || return 0
    if ! apt_get update; then
        problem="apt-get update failed (above): mend apt's sources and run this again."
        return 1
    fi
    apt_lists_are_fresh=yes
}

apt_install() {
    show_note "installing $* (apt-get)"
    apt_update || return 1
    # Run level 1 keeps a package's old-style init script from starting its service: who starts it also has to stop it.
    if ! RUNLEVEL=1 apt_get install "$@"; then
        problem="apt-get could not install $* (above): install it by hand and run this again."
        return 1
    fi
}

# require_command COMMAND PACKAGE...
require_command() {
    local command=$1
    shift
    ! command -v "$command" >/dev/null || return 0
    if can_install; then
        apt_install "$@"
    else
        problem="$command is missing: install it (Debian, Ubuntu: apt-get install $*) and run this again."
        return 1
    fi
}
