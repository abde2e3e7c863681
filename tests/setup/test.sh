#!/bin/bash
# `make test`: every test there is, in parts, each of which runs even if one before it failed.
#
#   tests/setup/test.sh SHIM [PART...]        parts: setup config cargo crun cost guest
#
# The guest (tests/guest/plan) has what this machine may lack: cgroup v2, CAP_SYS_RESOURCE, criu. Its
# processor is emulated, some twenty times slower, so it runs all of tests/guest, the unit tests of
# cgroup and sys, the mounts on its kernel, and of tests/task what meets the cgroup, the freezer or a
# kill: these with runc, and more of them with crun, which takes a third of runc's time there.
# Input checks, stdio, options and the large numbers of containers and execs are left to this machine.
#
# Ends with one line that sums up. All output is kept in target/test.log. A part that hangs is
# ended after PART_TIMEOUT seconds.
set -uo pipefail

repo=$(cd "$(dirname "$0")/../.." && pwd)
cd "$repo" || exit 1
shim=$1
shift
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(setup config cargo crun cost guest)
mkdir -p target
log=target/test.log
: >"$log"

run() {
    case $1 in
    # The packages of every part, the containerds, and a Python with gRPC.
    setup) tests/setup/packages.sh bzip2 containerd runc crun busybox-static containernetworking-plugins \
        e2fsprogs iproute2 iptables libfaketime util-linux valgrind xfsprogs xz-utils &&
        tests/setup/containerd.sh &&
        tests/setup/python-grpcio.sh ;;
    config) tests/setup/check-config.sh ;;
    cargo) OUTLIVE_SHIM=$shim \
        cargo test --locked --features crash-points --no-fail-fast ;;
    crun) OUTLIVE_SHIM=$shim OUTLIVE_OCI_RUNTIME=crun \
        tests/setup/crun.sh cargo test --locked --features crash-points --no-fail-fast \
        --test containerd v1_6:: ;;
    # What it executes, in instructions: these figures are the same on a busy machine.
    cost) OUTLIVE_SHIM=$shim \
        cargo test --locked --quiet --features crash-points --test bench -- --only instructions --check ;;
    guest) tests/guest/test.sh "$shim" ;;
    *)
        echo "no part $1"
        return 2
        ;;
    esac
}

# Runs part $1 and shows what it says. Its output goes to a file and not into a pipe: a container
# that a failed test leaves behind may hold its standard streams, and a pipe would never end.
job=
watched() {
    local output=target/test-$1.log code=0
    : >"$output"
    set -m # a process group of its own, so that all of it can be ended
    run "$1" >"$output" 2>&1 </dev/null &
    job=$!
    set +m
    timeout --foreground "${PART_TIMEOUT:-2400}" tail --pid="$job" -n +1 -s 0.2 -f "$output" || {
        echo "part $1 did not end and is killed"
        kill -KILL -- "-$job"
    }
    wait "$job" || code=$?
    job=
    cat "$output" >>"$log"
    return "$code"
}
trap '[ -z "$job" ] || kill -TERM -- "-$job" 2>/dev/null; exit 130' INT TERM HUP

clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

failed=()
summary=
for part in "${parts[@]}"; do
    echo "=== $part"
    began=$SECONDS
    if watched "$part"; then verdict=ok; else
        verdict=FAILED
        failed+=("$part")
    fi
    took=$(clock $((SECONDS - began)))
    echo "=== $part: $verdict, $took"
    summary="$summary $part $took"
done

# "test result: ok. 12 passed; 0 failed; 0 ignored; ..." once for each test program, also from the guest's console.
counts=$(tr -d '\r' <"$log" | awk '/^test result:/ { passed += $4; broken += $6; ignored += $8 }
    END { printf "%d passed, %d failed, %d ignored", passed, broken, ignored }')
if [ ${#failed[@]} -eq 0 ]; then
    echo "make test: everything passed: $counts ($(clock $SECONDS):$summary)"
else
    echo "make test: FAILED in ${failed[*]}: $counts ($(clock $SECONDS):$summary)"
    exit 1
fi
