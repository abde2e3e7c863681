#!/bin/bash
# `make demo`: containers outlive the supervisor that started them.
#
# Makes an image of Debian's busybox, starts `outlive serve` (root, state and socket under target/demo), and in it
#   writer   writes a numbered line to its log every 50 ms
#   seven    ends with exit code 7 as soon as it is told to
#   health   is asked for its health by exec
# then kills the supervisor with SIGKILL, tells `seven` to end while nobody manages it, starts another build of the
# supervisor over what is left, and compares. Exits with 0 only if everything held; removes all it made.
#
#   OUTLIVE=PROGRAM  OUTLIVE_NEXT=PROGRAM     the supervisors before and after (target/release, target/debug)
# shellcheck disable=SC2016,SC2317  # a container's script is quoted; some functions are run by await
set -euo pipefail

repo=$(cd "$(dirname "$0")/../.." && pwd)
first=${OUTLIVE:-$repo/target/release/outlive}
next=${OUTLIVE_NEXT:-$repo/target/debug/outlive}
work=$repo/target/demo
mark=outlive-demo-$$
# A socket's path has at most 107 bytes (unix(7)).
sockets=$(mktemp -d /tmp/outlive-demo.XXXXXX)
export OUTLIVE_ADDRESS=unix://$sockets/outlive.sock OUTLIVE_ROOT=$work/root

# shellcheck source=tests/demo/common.sh
. "$repo/tests/demo/common.sh"

supervisor=

outlive() { "$first" --timeout 30s "$@"; }
answers() { outlive version >/dev/null 2>&1; }

# The value of key $2 in what `inspect` says of $1: a number, or a string without its quotes.
value_of() { outlive inspect "$1" 2>/dev/null | sed -n "s/^ *\"$2\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}$/\1/p" | head -n 1; }
state_is() { [ "$(value_of "$1" state)" = "$2" ]; }
text() { outlive logs writer; }
lines() { text | wc -l; }
has_lines() { [ "$(lines)" -ge "$1" ]; }
healthy() { outlive exec health cat /tmp/health 2>/dev/null || echo dead; }

serve() {
    "$1" serve --config "$work/supervisor.toml" --root "$work/root" --state "$work/state" \
        --address "$OUTLIVE_ADDRESS" >>"$work/supervisor.log" 2>&1 </dev/null &
    supervisor=$!
    await "the supervisor to answer" answers || {
        tail -n 20 "$work/supervisor.log"
        return 1
    }
}

# Processes that name the demo's directories: the supervisor and the shims.
processes() {
    local dir
    for dir in /proc/[0-9]*; do
        if tr '\0' ' ' 2>/dev/null <"$dir/cmdline" | grep -qF -e "$sockets/" -e "$work/"; then
            echo "${dir#/proc/}"
        fi
    done
}
no_processes() { [ -z "$(processes)" ]; }
mounts() { awk -v under="$work/" 'index($5, under) == 1 { print $5 }' /proc/self/mountinfo; }
cgroups() { find /sys/fs/cgroup -type d -path "*/$mark/*" 2>/dev/null || true; }

# What is left behind, as one line each. Nothing is left when it prints nothing.
leftovers() {
    processes | sed 's/^/process /'
    mounts | sed 's/^/mount /'
    cgroups | sed 's/^/cgroup /'
    find "$work"/root/{containers,pods} "$work"/state/{tasks,pods} -mindepth 1 -maxdepth 1 2>/dev/null || true
}

# Ends whatever is there, also after a failure half way. Safe to run twice.
remove_all() {
    local pid dir
    if answers; then outlive rm -f writer seven health >/dev/null 2>&1 || true; fi
    if [ -n "$supervisor" ]; then
        kill "$supervisor" 2>/dev/null || true
        wait "$supervisor" 2>/dev/null || true
        supervisor=
    fi
    for pid in $(processes); do kill -KILL "$pid" 2>/dev/null || true; done
    for dir in $(cgroups); do
        while read -r pid; do kill -KILL "$pid" 2>/dev/null || true; done <"$dir/cgroup.procs"
    done
    await "the demo's processes to end" no_processes || true
    for dir in $(mounts | sort -r); do umount -l "$dir" || true; done
    find /sys/fs/cgroup -depth -type d \( -path "*/$mark/*" -o -name "$mark" \) -exec rmdir {} + 2>/dev/null || true
    rm -rf "$work" "$sockets"
}
trap 'set +e; remove_all' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# --- set up ---------------------------------------------------------------------

if [ "$(id -u)" != 0 ]; then
    say "the demo starts containers and so needs root"
    exit 1
fi
for program in "$first" "$next"; do
    [ -x "$program" ] || {
        say "no $program: run make demo, which builds it"
        exit 1
    }
done
rm -rf "$work"
mkdir -p "$work"
shim=$(dirname "$first")/containerd-shim-outlive-v2
cat >"$work/supervisor.toml" <<END
[cgroup]
parent = "/$mark"
[runtimes.outlive]
shim = "$shim"
END

say "${bold}Containers outlive whoever manages them${plain}"
say "$("$first" --version), $(runc --version | head -n 1)"
say

step "make an image, start the supervisor, run three containers"
"$repo/tests/setup/busybox-image.sh" "$work/busybox.tar"
serve "$first"
outlive image load "$work/busybox.tar" | sed 's/^/    /'
run() { outlive run -d --net host --name "$1" busybox sh -c "$2" >/dev/null; }
run writer 'i=0; while :; do i=$((i + 1)); echo "line $i"; usleep 50000; done'
run seven 'until [ -e /tmp/end ]; do usleep 20000; done; exit 7'
run health 'echo well >/tmp/health; while :; do sleep 1; done'
await "writer's first lines" has_lines 5
outlive ps | sed 's/^/    /'

writer_pid=$(value_of writer pid)
writer_start=$(started_at "$writer_pid")
health_pid=$(value_of health pid)
seven_pid=$(value_of seven pid)
health_before=$(healthy)

step "kill -9 the supervisor (pid $supervisor)"
# The shell would tell of the killed job on stderr.
{
    kill -KILL "$supervisor"
    wait "$supervisor" || true
} 2>/dev/null
supervisor=
log=$work/root/logs/writer/writer.log
lines_at_kill=$(wc -l <"$log")

step "while it is dead: seven ends, writer goes on"
touch "/proc/$seven_pid/root/tmp/end"
await "seven to end" gone "$seven_pid"
seven_ended=$(date +%s)
grown() { [ "$(wc -l <"$log")" -ge $((lines_at_kill + 40)) ]; }
await "writer to write 40 more lines" grown || true
answers && nobody=answers || nobody=dead
lines_at_restart=$(wc -l <"$log")
say "    writer's log grew from $lines_at_kill to $lines_at_restart lines"

step "start another build of the supervisor over what is left"
"$next" recover --dry-run --config "$work/supervisor.toml" --root "$work/root" --state "$work/state" 2>&1 | cut -c 1-118 | sed 's/^/    /'
serve "$next"
await "seven's end to be known" state_is seven exited || true
say

# --- what held ------------------------------------------------------------------

printf '  %s%-44s %-14s %-14s%s\n' "$bold" "" expected found "$plain"
row "the supervisor during the outage" dead "$nobody"
builds=same
cmp -s "$first" "$next" || builds=different
row "the supervisor's builds before and after" different "$builds"
row "writer: state" running "$(value_of writer state)"
row "writer: pid" "$writer_pid" "$(value_of writer pid)"
row "writer: process start time (clock ticks)" "$writer_start" "$(started_at "$(value_of writer pid)")"
grew=no
[ $((lines_at_restart - lines_at_kill)) -lt 40 ] || grew=yes
row "writer: 40 lines and more in the outage" yes "$grew"
grew=no
await "writer to write after the restart" has_lines $((lines_at_restart + 5)) && grew=yes
row "writer: goes on after the restart" yes "$grew"
row "writer: lines missing or out of order" 0 "$(text | awk '$0 != "line " NR { bad++ } END { print bad + 0 }')"
row "seven: state" exited "$(value_of seven state)"
row "seven: exit code" 7 "$(value_of seven exit_code)"
finished=$(date -d "$(value_of seven finished_at)" +%s)
away=$((finished > seven_ended ? finished - seven_ended : seven_ended - finished))
true_time=no
[ "$away" -gt 1 ] || true_time=yes
row "seven: finished when its process ended (1 s)" yes "$true_time"
row "health: pid" "$health_pid" "$(value_of health pid)"
row "health: answer to exec before" well "$health_before"
row "health: answer to exec after" well "$(healthy)"

outlive rm -f writer seven health >/dev/null || failed=1
kill "$supervisor"
code=0
wait "$supervisor" || code=$?
supervisor=
row "the supervisor's exit code after SIGTERM" 0 "$code"
await "the shims to end" no_processes || true
left=$(leftovers)
row "left behind (processes, mounts, cgroups, ...)" 0 "$(count <<<"$left")"
[ -z "$left" ] || say "$left"
say
if [ "$failed" = 0 ]; then
    say "${green}everything held${plain}"
else
    say "${red}not everything held${plain}"
    tail -n 20 "$work/supervisor.log"
fi
exit "$failed"
