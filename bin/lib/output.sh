# What the user sees: one line for each step, everything else only when something fails.
#
# A function that fails for a reason the user can mend sets `problem` to one sentence and returns 1;
# the script at the top decides whether that ends the run (`fail "$problem"`) or not.

problem=

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    green=$'\033[32m' red=$'\033[31m' plain=$'\033[0m'
else
    green='' red='' plain=''
fi

clear_line() { [ ! -t 1 ] || printf '\r\033[K'; }

# A terminal shows the running step on a line that the next one replaces; a log needs no such line.
show_doing() { [ ! -t 1 ] || printf '\r\033[K… %s' "$*"; }

show_note() { clear_line && printf '• %s\n' "$*"; }

show_done() { clear_line && printf '%s✓%s %s\n' "$green" "$plain" "$*"; }

show_failed() { clear_line && printf '%s✗%s %s\n' "$red" "$plain" "$*" >&2; }

fail() {
    show_failed "$*"
    exit 1
}

# quietly COMMAND...: shows what the command printed only when it fails.
quietly() {
    local output code=0
    output=$("$@" 2>&1) || code=$?
    [ "$code" -eq 0 ] || { clear_line && printf '%s\n' "$output" >&2; }
    return "$code"
}

# usage FILE: prints the comment at the top of a script, which is its manual.
usage() { sed -n '2,/^$/ s/^# \{0,1\}//p' "$1"; }

# wrong_usage TEXT: the exit code 2 tells a mistyped command from one that failed.
wrong_usage() {
    printf '%s: %s (see %s --help)\n' "$0" "$1" "$0" >&2
    exit 2
}
