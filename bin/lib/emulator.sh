# The emulator of a foreign processor, for the test of a build that runs under one.

# Names its file in MOLECULE_TEST_EMULATOR. The test hands it to the kernel, for all of the machine while it runs.
emulator_ensure() {
    local directory
    is_root || fail "bin/test emulation tells the kernel of an emulator: run it as root."
    if [ -n "${MOLECULE_TEST_EMULATOR:-}" ]; then return 0; fi
    can_install || fail "set MOLECULE_TEST_EMULATOR to a qemu-riscv64-static (Debian: qemu-user-static)."
    show_doing "emulator for this run"
    directory=$(mktemp -d /var/tmp/emulator.XXXXXX)
    at_exit remove_tree "$directory"
    emulator_unpack "$directory" || fail "no qemu-user-static could be had."
    export MOLECULE_TEST_EMULATOR="$directory/usr/bin/qemu-riscv64-static"
    show_done "emulator (for this run only)"
}

# One file of the package: all of them are 380 MB.
emulator_unpack() {
    apt_update &&
        (cd "$1" && apt_get download qemu-user-static) &&
        dpkg-deb --fsys-tarfile "$1"/qemu-user-static_*.deb | tar -x -C "$1" ./usr/bin/qemu-riscv64-static
}
