# What a run made is undone when the run ends, however it ends.
#
# Sourcing this file takes over the traps for EXIT, INT, TERM and HUP.

cleanups=()
child=
child_signal=

# at_exit COMMAND...: runs the command when the script ends, the last one first. It may find its work done already.
at_exit() { cleanups+=("$(printf '%q ' "$@")"); }

run_cleanups() {
    local code=$? i
    trap '' INT TERM HUP # a second Ctrl-C must not leave half of it behind
    for ((i = ${#cleanups[@]} - 1; i >= 0; i--)); do
        eval "${cleanups[i]}" || true
    done
    exit "$code"
}

# start_child SIGNAL COMMAND...: runs the command beside this script; SIGNAL is how it is asked to end.
start_child() {
    child_signal=$1
    shift
    (
        trap - INT # bash starts what runs behind `&` deaf to Ctrl-C
        exec "$@"
    ) <&0 &
    child=$!
}

wait_for_child() {
    local code=0
    wait "$child" || code=$?
    child=
    return "$code"
}

# supervise SIGNAL COMMAND...: runs the command so that a signal to this script alone also ends the command;
# bash would otherwise hold its traps back until the command is done.
supervise() { start_child "$@" && wait_for_child; }

# interrupted SIGNAL CODE: lets the running command finish its own clean-up, then ends the script.
interrupted() {
    if [ -n "$child" ]; then
        # A terminal sends Ctrl-C to the command too; pytest takes a second one as "skip the clean-up".
        [ "$1" = INT ] || kill -s "$child_signal" "$child" 2>/dev/null || true
        wait "$child" || true
    fi
    exit "$2"
}

# remove_tree DIR: also where something is mounted below DIR, which is unmounted and never emptied.
remove_tree() {
    local mount_point
    awk -v below="$1/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
        while read -r mount_point; do umount -l "$mount_point"; done
    rm -rf --one-file-system "$1"
}

trap run_cleanups EXIT
trap 'interrupted INT 130' INT
trap 'interrupted TERM 143' TERM
trap 'interrupted HUP 129' HUP
