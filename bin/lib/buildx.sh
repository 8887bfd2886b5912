# The buildx plug-in, for the tests of the builder that most people have. Debian 12 does not package it; Debian 13 does,
# and its binary runs on Debian 12.

buildx_suite=trixie

# Names the plug-in's file in MOLECULE_TEST_BUILDX, unless docker has it already. Without it those tests are skipped.
buildx_ensure() {
    local directory
    if [ -n "${MOLECULE_TEST_BUILDX:-}" ] || docker buildx version >/dev/null 2>&1; then return 0; fi
    if ! can_install || ! base_image_find_mirrors; then return 0; fi
    show_doing "buildx plug-in for this run"
    directory=$(mktemp -d /var/tmp/buildx.XXXXXX)
    at_exit remove_tree "$directory"
    if buildx_unpack "$directory"; then
        export MOLECULE_TEST_BUILDX="$directory/root/usr/libexec/docker/cli-plugins/docker-buildx"
        show_done "buildx plug-in (for this run only)"
    else
        show_note "no buildx plug-in could be had; its tests are skipped"
    fi
}

# The package, checked by apt against its signature, from the mirror that this machine uses anyway.
buildx_unpack() {
    local options=(
        -o Dir::Etc::sourcelist="$1/sources.list" -o Dir::Etc::sourceparts=-
        -o Dir::State::lists="$1/lists" -o Dir::Cache="$1/cache"
    )
    mkdir -p "$1/lists/partial" "$1/cache/archives/partial" "$1/root"
    echo "deb $base_image_mirror $buildx_suite main" >"$1/sources.list"
    apt_get "${options[@]}" update &&
        (cd "$1" && apt_get "${options[@]}" download docker-buildx) &&
        dpkg-deb -x "$1"/docker-buildx_*.deb "$1/root"
}
