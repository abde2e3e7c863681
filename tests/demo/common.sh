# What both demos use: output, waiting, and who a process is. To be sourced.
# shellcheck shell=bash disable=SC2034  # what is set here is used by who sources it

bold='' red='' green='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
fi

failed=0

say() { printf '%s\n' "$*"; }
step() { printf '%s==>%s %s\n' "$bold" "$plain" "$*"; }

# One line of the table: what, expected, found.
row() {
    local verdict="${green}ok${plain}"
    if [ "$2" != "$3" ]; then
        verdict="${red}FAILED${plain}"
        failed=1
    fi
    printf '  %-44s %-14s %-14s %s\n' "$1" "$2" "$3" "$verdict"
}

# Waits until the rest of the arguments succeed, at most 20 s; $1 says for what.
await() {
    local what=$1 deadline=$((SECONDS + 20))
    shift
    until "$@"; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            say "waited 20 s for $what"
            return 1
        fi
        sleep 0.05
    done
}

# Identity of a process that survives reuse of its pid: start time in clock ticks (proc_pid_stat(5), field 22).
started_at() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
gone() { [ ! -e "/proc/$1" ] || grep -q '^State:.*zombie' "/proc/$1/status" 2>/dev/null; }
count() { sed '/^$/d' | wc -l; }
