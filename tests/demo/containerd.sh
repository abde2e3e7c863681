#!/bin/bash
# `make demo-containerd`: containers outlive the containerd that started them.
#
# Starts a containerd of its own (root, state and socket under target/demo), and in it
#   writer   writes a numbered line to its log every 100 ms
#   seven    ends with exit code 7 as soon as it is told to
# then kills containerd with SIGKILL, tells `seven` to end while nobody manages it, starts
# containerd again, and compares. Exits with 0 only if everything held; removes all it made.
#
#   SHIM=io.containerd.runc.v2       the same with containerd's own shim
#   CONTAINERD=1.7 (or 2.x)          under another containerd (tests/setup/containerd.sh fetches it)
# shellcheck disable=SC2016,SC2317  # a container's script is quoted; some functions are run by await
set -euo pipefail

repo=$(cd "$(dirname "$0")/../.." && pwd)
shim=${SHIM:-io.containerd.outlive.v2}
containerd_name=${CONTAINERD:-1.6}
shim_dir=$(cd "${OUTLIVE_SHIM_DIR:-$repo/target/release}" 2>/dev/null && pwd) || shim_dir=/nonexistent

work=$repo/target/demo
rootfs=$work/rootfs
log=$work/writer.log
namespace=outlive-demo
# A socket's path has at most 107 bytes (unix(7)), and containerd appends ".ttrpc".
socket=$work/containerd.sock
sockets=
if [ ${#socket} -gt 100 ]; then
    sockets=$(mktemp -d /tmp/outlive-demo.XXXXXX)
    socket=$sockets/containerd.sock
fi

# shellcheck source=tests/demo/common.sh
. "$repo/tests/demo/common.sh"

containerd_pid=
addresses=

ctr() { "$bin/ctr" --address "$socket" --namespace "$namespace" "$@"; }
answers() { [ -S "$socket" ] && "$bin/ctr" --address "$socket" --connect-timeout 1s version >/dev/null 2>&1; }

lines() { wc -l <"$log"; }
has_lines() { [ "$(lines)" -ge "$1" ]; }
pid_of() { ctr task ls | awk -v id="$1" '$1 == id { print $2 }'; }
status_of() { ctr task ls | awk -v id="$1" '$1 == id { print $3 }'; }

# Deletes task $1 and prints its exit code, which ctr only names in a warning, unless it is 0.
exit_code_of() {
    local text
    if ! text=$(ctr task delete "$1" 2>&1); then
        echo lost
    elif [ -z "$text" ]; then
        echo 0
    else
        sed -n 's/.*non-zero exit code \([0-9]*\).*/\1/p' <<<"$text"
    fi
    echo "$text" >>"$work/ctr.log"
}

start_containerd() {
    PATH=$shim_dir:$bin:$PATH "$bin/containerd" --config "$work/config.toml" >>"$work/containerd.log" 2>&1 </dev/null &
    containerd_pid=$!
    if ! await "containerd to answer" answers; then
        tail -n 20 "$work/containerd.log"
        return 1
    fi
}

# Processes that name the demo's directory or socket: containerd, shims, their helpers.
processes() {
    local dir
    for dir in /proc/[0-9]*; do
        if tr '\0' ' ' 2>/dev/null <"$dir/cmdline" | grep -qF -e "$socket" -e "$work/"; then
            echo "${dir#/proc/}"
        fi
    done
}
no_processes() { [ -z "$(processes)" ]; }
mounts() { awk -v under="$work/" 'index($5, under) == 1 { print $5 }' /proc/self/mountinfo; }
cgroups() { find /sys/fs/cgroup -type d -path "*/$namespace/*" 2>/dev/null || true; }

# What is left behind, as one line each. Nothing is left when it prints nothing.
leftovers() {
    local address
    processes | sed 's/^/process /'
    mounts | sed 's/^/mount /'
    cgroups | sed 's/^/cgroup /'
    for address in $addresses; do
        [ ! -e "$address" ] || echo "socket $address"
    done
    find "/run/containerd/runc/$namespace" -mindepth 1 -maxdepth 1 2>/dev/null | sed 's/^/runtime state /' || true
    find "$work/state" -mindepth 3 -maxdepth 3 -path "*.task/*" 2>/dev/null | sed 's/^/bundle /' || true
}

# Ends whatever is there, also after a failure half way. Safe to run twice.
remove_all() {
    local pid dir
    if answers; then
        for id in writer seven; do
            ctr task kill -s SIGKILL "$id" >/dev/null 2>&1 || true
            ctr task delete --force "$id" >/dev/null 2>&1 || true
            ctr container delete "$id" >/dev/null 2>&1 || true
        done
    fi
    if [ -n "$containerd_pid" ]; then
        kill "$containerd_pid" 2>/dev/null || true
        wait "$containerd_pid" 2>/dev/null || true
        containerd_pid=
    fi
    for pid in $(processes); do kill -KILL "$pid" 2>/dev/null || true; done
    # The containers' own processes, where a shim did not end them.
    for dir in $(cgroups); do
        while read -r pid; do kill -KILL "$pid" 2>/dev/null || true; done <"$dir/cgroup.procs"
    done
    await "the demo's processes to end" no_processes || true
    for dir in $(mounts | sort -r); do umount -l "$dir" || true; done
    for dir in $addresses; do rm -f "$dir"; done
    find /sys/fs/cgroup -depth -type d \( -path "*/$namespace/*" -o -name "$namespace" \) -exec rmdir {} + 2>/dev/null || true
    rm -rf "$work" ${sockets:+"$sockets"} "/run/containerd/runc/$namespace"
}
trap 'set +e; remove_all' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# --- set up ---------------------------------------------------------------------

if [ "$(id -u)" != 0 ]; then
    say "the demo starts a containerd and so needs root"
    exit 1
fi
case $containerd_name in
1.6) bin=/usr/bin ;;
*) bin=$repo/target/containerd/$containerd_name/usr/bin ;;
esac
if [ "$shim" = io.containerd.outlive.v2 ] && [ ! -x "$shim_dir/containerd-shim-outlive-v2" ]; then
    say "no $shim_dir/containerd-shim-outlive-v2: run make build first"
    exit 1
fi

remove_all
mkdir -p "$work" "$rootfs"/{bin,dev,etc,proc,root,run,sys,tmp}
cp /bin/busybox "$rootfs/bin/busybox"
for applet in sh usleep; do ln -s busybox "$rootfs/bin/$applet"; done

# Everything that containerd would put elsewhere is named or switched off.
cat >"$work/config.toml" <<END
version = 2
root = "$work/root"
state = "$work/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri"]
[grpc]
  address = "$socket"
[plugins."io.containerd.internal.v1.opt"]
  path = "$work/opt"
END

say "${bold}Containers outlive whoever manages them${plain}"
say "$("$bin/containerd" --version | cut -d' ' -f1,3), shim $shim"
say

step "start containerd, writer and seven"
start_containerd
# A detached container holds the caller's standard streams: none of them may be a pipe.
ctr run --detach --runtime "$shim" --log-uri "file://$log" --rootfs "$rootfs" writer \
    /bin/sh -c 'i=0; while :; do i=$((i + 1)); echo "line $i"; usleep 100000; done' </dev/null >"$work/ctr.log" 2>&1 ||
    { cat "$work/ctr.log"; exit 1; }
ctr run --detach --runtime "$shim" --log-uri "file://$work/seven.log" --rootfs "$rootfs" seven \
    /bin/sh -c 'until [ -e /tmp/end ]; do usleep 50000; done; exit 7' </dev/null >"$work/ctr.log" 2>&1 ||
    { cat "$work/ctr.log"; exit 1; }
await "writer's first lines" has_lines 5

writer_pid=$(pid_of writer)
writer_start=$(started_at "$writer_pid")
seven_pid=$(pid_of seven)
for file in "$work"/state/*/"$namespace"/*/{address,bootstrap.json}; do
    [ -e "$file" ] || continue
    addresses="$addresses $(grep -o '/[^"]*/s/[0-9a-f]*' "$file")"
done
# One may be in both files.
addresses=$(tr ' ' '\n' <<<"$addresses" | sort -u | xargs)
known_addresses=$(wc -w <<<"$addresses")
say "    writer is pid $writer_pid, seven is pid $seven_pid, containerd is pid $containerd_pid"

step "kill -9 containerd"
first_containerd=$containerd_pid
# The shell would tell of the killed job on stderr.
{
    kill -KILL "$containerd_pid"
    wait "$containerd_pid" || true
} 2>/dev/null
containerd_pid=
lines_at_kill=$(lines)

step "while it is dead: seven ends, writer goes on"
touch "$rootfs/tmp/end"
await "seven to end" gone "$seven_pid"
await "writer to write 20 more lines" has_lines $((lines_at_kill + 20)) || true
lines_at_restart=$(lines)
answers && nobody=answers || nobody=dead
say "    writer's log grew from $lines_at_kill to $lines_at_restart lines"

step "start containerd again"
start_containerd
say "    containerd is pid $containerd_pid (it was $first_containerd)"
say

# --- what held ------------------------------------------------------------------

printf '  %s%-44s %-14s %-14s%s\n' "$bold" "" expected found "$plain"
row "containerd during the outage" dead "$nobody"
row "shims' sockets known" 2 "$known_addresses"
row "writer: pid" "$writer_pid" "$(pid_of writer)"
row "writer: process start time (clock ticks)" "$writer_start" "$(started_at "$writer_pid")"
row "writer: status" RUNNING "$(status_of writer)"
grew=no
[ $((lines_at_restart - lines_at_kill)) -lt 20 ] || grew=yes
row "writer: 20 lines and more in the outage" yes "$grew"
grew=no
await "writer to write after the restart" has_lines $((lines_at_restart + 5)) && grew=yes
row "writer: goes on after the restart" yes "$grew"
gaps=$(awk '$0 != "line " NR { bad++ } END { print bad + 0 }' "$log")
row "writer: lines missing or out of order" 0 "$gaps"
row "seven: status" STOPPED "$(status_of seven)"
row "seven: exit code from ctr task delete" 7 "$(exit_code_of seven)"

ctr task kill -s SIGKILL writer >>"$work/ctr.log" 2>&1 || true
writer_stopped() { [ "$(status_of writer)" = STOPPED ]; }
await "writer to stop" writer_stopped || true
row "writer: exit code after SIGKILL" 137 "$(exit_code_of writer)"
ctr container delete writer seven >>"$work/ctr.log" 2>&1 || true

# The last shim ends after its answer to Shutdown; containerd itself only now.
kill "$containerd_pid"
wait "$containerd_pid" 2>/dev/null || true
containerd_pid=
await "the shims to end" no_processes || true
left=$(leftovers)
row "left behind (processes, mounts, cgroups, ...)" 0 "$(count <<<"$left")"
[ -z "$left" ] || say "$left"
say
if [ "$failed" = 0 ]; then
    say "${green}everything held${plain}"
else
    say "${red}not everything held${plain}"
    tail -n 5 "$work/ctr.log"
fi
exit "$failed"
