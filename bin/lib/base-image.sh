# The image that all templates start from: pulled, or made from Debian's packages where no registry answers.
#
# Needs a reachable engine. Sets base_image_origin.

base_image=python:3.11-slim
base_image_label=molecule.base_image
base_image_suite=bookworm
base_image_origin= # present, pulled or made

# base_image_ensure: does nothing when the name is taken, whoever made that image.
base_image_ensure() {
    if docker image inspect "$base_image" >/dev/null 2>&1; then
        base_image_origin=present
        return 0
    fi
    base_image_pull && return 0
    [ "$base_image_registry" = unreachable ] || return 1
    base_image_make
}

# Sets base_image_registry to `unreachable` or `refuses` when it fails.
base_image_pull() {
    local log words
    show_doing "pulling $base_image"
    log=$(mktemp)
    at_exit rm -f "$log"
    if run_unless_silent 120 "$log" docker pull "$base_image"; then
        rm -f "$log"
        base_image_origin=pulled
        return 0
    fi
    words=$(tail -n 1 "$log")
    rm -f "$log"
    base_image_registry=refuses
    ! says_unreachable "$words" || base_image_registry=unreachable
    problem="$base_image cannot be pulled: $words"
    return 1
}

# run_unless_silent SECONDS LOG COMMAND...: ends a command that adds nothing to its log for so long, and says so there.
run_unless_silent() {
    local limit=$1 log=$2 size=0 changed=$SECONDS now
    shift 2
    start_child TERM "$@" >"$log" 2>&1
    while kill -0 "$child" 2>/dev/null; do
        sleep 0.2
        now=$(wc -c <"$log")
        if [ "$now" -ne "$size" ]; then
            size=$now changed=$SECONDS
        elif [ $((SECONDS - changed)) -ge "$limit" ]; then
            kill "$child"
            printf 'i/o timeout: no progress for %s seconds\n' "$limit" >>"$log"
            break
        fi
    done
    wait_for_child
}

# says_unreachable WORDS: whether docker's words mean that no registry answered. There is no code to go by. Words that
# are not known here count as a registry's answer, so that a refusal is never papered over by an image of our own.
says_unreachable() {
    case $1 in
        *'dial tcp'* | *'dial udp'* | *'no such host'* | *'i/o timeout'* | *'TLS handshake timeout'* | \
            *'Client.Timeout'* | *'context deadline exceeded'* | *'connection reset by peer'* | \
            *'connection refused'* | *'network is unreachable'* | *'no route to host'* | *': EOF') return 0 ;;
    esac
    return 1
}

# Makes the image from Debian's packages. `problem` says why it could not be pulled.
base_image_make() {
    local reason=$problem directory
    if ! is_root || ! is_debian_or_ubuntu || [ "$(docker version --format '{{.Server.Arch}}')" != "$(dpkg --print-architecture)" ]; then
        problem="$reason; an equivalent can be made only as root on Debian or Ubuntu, for the machine's own architecture: run bin/base-image there, or load the image with 'docker load'."
        return 1
    fi
    if ! require_command debootstrap debootstrap debian-archive-keyring || ! base_image_find_mirrors; then
        problem="$reason; $problem"
        return 1
    fi
    show_note "making $base_image from Debian's packages, because no registry answers (about a minute)"
    # Not in /tmp, which may be mounted without devices.
    directory=$(mktemp -d /var/tmp/base-image.XXXXXX)
    at_exit remove_tree "$directory"
    if ! supervise TERM debootstrap --variant=minbase --force-check-gpg \
        --include=python3.11,python3.11-venv,python3-pip,ca-certificates \
        "$base_image_suite" "$directory/root" "$base_image_mirror" >"$directory/log" 2>&1; then
        clear_line
        tail -n 20 "$directory/log" >&2
        problem="debootstrap could not make $base_image (above)."
        return 1
    fi
    if ! base_image_finish "$directory/root" || ! base_image_import "$directory/root"; then
        problem="$base_image could not be made (above)."
        return 1
    fi
    remove_tree "$directory"
    base_image_origin=made
}

# Sets base_image_mirror and base_image_security_mirror to what the host's own apt uses.
base_image_find_mirrors() {
    base_image_mirror=${MOLECULE_DEBIAN_MIRROR:-$(apt_repository Debian)}
    if [ -z "$base_image_mirror" ]; then
        apt_update || return 1 # without its lists apt does not know whose a repository is
        base_image_mirror=$(apt_repository Debian)
    fi
    if [ -z "$base_image_mirror" ]; then
        problem="an equivalent needs a Debian mirror, and apt has none here: set MOLECULE_DEBIAN_MIRROR to the URL of one and run this again."
        return 1
    fi
    base_image_security_mirror=$(apt_repository Debian-Security)
}

# apt_repository LABEL: the URL of the first repository that Debian signed under this label.
apt_repository() {
    local url
    # shellcheck disable=SC2016 # apt fills this in
    url=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' "Label: $1" | sed -n 1p)
    case $url in
        # Debian's cloud images name a file that lists mirrors.
        mirror+file:*) url=${url%/} && grep -m 1 -Eo '^[^#[:space:]]+' "${url#mirror+file:}" ;;
        *) printf '%s\n' "$url" ;;
    esac
}

# base_image_finish ROOT: turns a minimal Debian with Python into what a Dockerfile expects of the real image.
base_image_finish() {
    local root=$1
    base_image_sources >"$root/etc/apt/sources.list" &&
        ln -s python3.11 "$root/usr/bin/python" &&
        ln -s ../../bin/python3.11 "$root/usr/local/bin/python" &&
        ln -s ../../bin/python3.11 "$root/usr/local/bin/python3" &&
        ln -s ../../bin/pip3 "$root/usr/local/bin/pip" &&
        ln -s ../../bin/pip3 "$root/usr/local/bin/pip3" &&
        rm "$root/usr/lib/python3.11/EXTERNALLY-MANAGED" &&
        base_image_trust_host_authorities "$root" &&
        rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/* \
            "$root"/usr/share/locale/* "$root/etc/hostname" "$root/etc/resolv.conf"
}

base_image_sources() {
    printf 'deb %s %s main\n' "$base_image_mirror" "$base_image_suite" "$base_image_mirror" "$base_image_suite-updates"
    [ -z "$base_image_security_mirror" ] ||
        printf 'deb %s %s main\n' "$base_image_security_mirror" "$base_image_suite-security"
}

# Behind a proxy that re-signs TLS, pip in a build can verify a connection only with the authorities that the host has.
base_image_trust_host_authorities() {
    find /usr/local/share/ca-certificates -name '*.crt' -exec cp {} "$1/usr/local/share/ca-certificates/" \; &&
        quietly chroot "$1" update-ca-certificates
}

base_image_import() {
    show_doing "importing $base_image"
    tar -C "$1" --numeric-owner --exclude './dev/*' -c . | quietly docker import \
        --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change 'ENV LANG=C.UTF-8' \
        --change 'CMD ["python3"]' \
        --change "LABEL $base_image_label=debootstrap" \
        - "$base_image"
}

# What to say of the image when it is ready.
base_image_describe() {
    case $base_image_origin in
        made) echo "$base_image (made from Debian's packages; remove: docker image rm $base_image)" ;;
        *) echo "$base_image ($base_image_origin)" ;;
    esac
}

base_image_is_ours() {
    [ "$(docker image inspect --format "{{index .Config.Labels \"$base_image_label\"}}" "$base_image" 2>/dev/null)" = debootstrap ]
}

# base_image_remove: an image that was not made here is left alone, and so is one that a container uses.
base_image_remove() {
    if ! base_image_is_ours; then
        problem="$base_image was not made by bin/base-image (or is not there): nothing is removed."
        return 1
    fi
    if ! quietly docker image rm "$base_image"; then
        problem="$base_image is in use (above): it stays."
        return 1
    fi
}
