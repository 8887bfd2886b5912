# What a dockerd needs of the host, and what it changes there and leaves: control groups, bridges, firewall, forwarding.
#
# host_prepare before a dockerd starts; host_restore after it ended puts back what was there and touches nothing that is
# not Docker's. Needs iptables (Docker needs it too) and ip.

host_switches='/proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding'
host_mounted_control_groups=no

host_prepare() {
    host_links_before=$(ls /sys/class/net)
    host_switches_before=$(host_read_switches)
    host_firewall4_before=$(host_firewall iptables)
    host_firewall6_before=$(host_firewall ip6tables)
    # An init system mounts them; where none runs, Debian's docker.io brings a command that does.
    if ! grep -Eq ' cgroup2? ' /proc/mounts && command -v cgroupfs-mount >/dev/null && quietly cgroupfs-mount; then
        host_mounted_control_groups=yes
    fi
}

host_restore() {
    host_firewall_restore iptables "$host_firewall4_before"
    host_firewall_restore ip6tables "$host_firewall6_before"
    host_delete_bridges
    host_restore_switches
    [ "$host_mounted_control_groups" = no ] || umount --recursive /sys/fs/cgroup
}

host_delete_bridges() {
    local name
    ls /sys/class/net | lines_not_in "$host_links_before" | while read -r name; do
        [[ ! $name =~ ^(docker0|br-[0-9a-f]+)$ ]] || ip link delete "$name"
    done
}

host_restore_switches() {
    local name
    host_read_switches | lines_not_in "$host_switches_before" | while read -r name _; do
        printf '%s\n' "$host_switches_before" | awk -v name="$name" '$1 == name { print $2 }' >"$name"
    done
}

host_read_switches() {
    local name
    for name in $host_switches; do
        [ ! -r "$name" ] || printf '%s %s\n' "$name" "$(cat "$name")"
    done
}

# The rules of iptables or ip6tables, one a line and complete: "TABLE policy CHAIN POLICY", "TABLE rule CHAIN …".
host_firewall() {
    ! command -v "$1-save" >/dev/null || "$1-save" 2>/dev/null | awk '
        /^\*/   { table = substr($1, 2) }
        /^:/    { print table, "policy", substr($1, 2), $2 }
        /^-A /  { sub(/^-A /, ""); print table, "rule", $0 }'
}

# host_firewall_restore TOOL BEFORE
host_firewall_restore() {
    local new
    new=$(host_firewall "$1" | lines_not_in "$2")
    # Of other chains, only the rules that lead to Docker's chains, name its bridges, or let a container reach its own
    # published port. The policy of FORWARD that Docker sets would cut off what the host forwarded before.
    printf '%s\n' "$new" | awk '
        $2 == "rule" && $3 !~ /^DOCKER/ && (/DOCKER|docker0|br-[0-9a-f]+/ || ($4 == "-s" && $6 == "-d" && $5 == $7)) {
            table = $1
            sub(/^[a-z]+ rule /, "")
            print "-t " table " -D " $0
        }
        $0 == "filter policy FORWARD DROP" { print "-t filter -P FORWARD ACCEPT" }
        $2 == "policy" && $3 ~ /^DOCKER/ {
            empty = empty "-t " $1 " -F " $3 "\n"
            remove = remove "-t " $1 " -X " $3 "\n"
        }
        END { printf "%s%s", empty, remove }' | run_each "$1"
    # iptables over nftables makes the built-in chains on first use, and removes them while they are empty; the older
    # iptables cannot, and there they were always there.
    printf '%s\n' "$new" | awk '$2 == "policy" && $4 != "-" { print "-t " $1 " -X " $3 }' | run_each "$1" 2>/dev/null
}

# run_each COMMAND: once for each line of the input, with its words as arguments, quoted as iptables-save quotes.
run_each() {
    local arguments
    while read -r arguments; do xargs "$1" <<<"$arguments" || true; done
}

# lines_not_in TEXT: the lines of the input that TEXT has not.
lines_not_in() { grep -vxF -- "$1" || true; }
