#!/bin/sh
# Boots the guest of tests/setup/guest.sh, shows its console, and ends as its tests ended.
#
#   tests/guest/run.sh [ARGUMENT...]       arguments of every test program: a filter, --nocapture
#   GUEST_COMMAND='criu check' tests/guest/run.sh     a shell command in place of the tests
#
# The processor is emulated (no /dev/kvm needed), so this runs wherever qemu does. The
# console's text is kept in target/guest/console.log. GUEST_TIMEOUT (seconds) ends a guest
# that hangs.
set -eu

repo=$(cd "$(dirname "$0")/../.." && pwd)
out=${GUEST_DIR:-$repo/target/guest}
limit=${GUEST_TIMEOUT:-900}
log=$out/console.log

# What this run is about goes behind the image as a small archive of its own: the kernel unpacks
# both, and a kernel command line of more than 2047 bytes would hang it.
extra=$out/.extra
rm -rf "$extra"
mkdir -p "$extra/etc/outlive"
: >"$extra/etc/outlive/arguments"
[ $# -eq 0 ] || printf '%s\n' "$@" >"$extra/etc/outlive/arguments"
printf '%s' "${GUEST_COMMAND:-}" >"$extra/etc/outlive/command"
(cd "$extra" && find . | cpio --quiet -o -H newc -R 0:0) >"$out/.extra.cpio"
cat "$out/initramfs" "$out/.extra.cpio" >"$out/.booted"
rm -rf "$extra" "$out/.extra.cpio"

# The pipe's status is tee's; qemu's own goes to a file. A guest that panics ends (-no-reboot, panic=-1).
status_file=$out/.qemu-status
boot() {
    rm -f "$status_file"
    {
        code=0
        timeout --foreground -k 5 "$limit" qemu-system-x86_64 -accel tcg -cpu max -m 3072 -smp 2 -nodefaults -no-reboot \
            -display none -serial stdio -device virtio-rng-pci \
            -kernel "$out/vmlinuz" -initrd "$out/.booted" \
            -append "console=ttyS0 quiet panic=-1 softlockup_panic=1 mitigations=off" </dev/null 2>&1 || code=$?
        echo "$code" >"$status_file"
    } | tee "$log"
    qemu=$(cat "$status_file")
}

# Seen on a busy machine: both emulated processors go round in the kernel's allocator
# (kmem_cache_alloc_lru) for ever. Nothing in a guest can do that; the emulator has lost an update. Only then it boots again.
boots=3
while boot && grep -q 'Kernel panic - not syncing: softlockup' "$log" && [ $((boots -= 1)) -gt 0 ]; do
    echo "guest: the emulated processors hang; booting again"
done
rm -f "$status_file" "$out/.booted"
if [ "$qemu" = 124 ] || [ "$qemu" = 137 ]; then
    echo "the guest was stopped after $limit s"
    exit 1
fi
# Serial lines end in CR LF.
status=$(tr -d '\r' <"$log" | sed -n 's/^outlive-guest: finished with status \([0-9]*\)$/\1/p' | tail -n 1)
if [ -z "$status" ]; then
    echo "the guest ended before its tests did (qemu: $qemu)"
    exit 1
fi
tr -d '\r' <"$log" | awk -v status="$status" '/^test result:/ { passed += $4; failed += $6 }
    END { printf "guest: %s: %d passed, %d failed\n", status == 0 ? "everything passed" : "FAILED", passed, failed }'
exit "$status"
