#!/bin/sh
# Runs a command where Debian 12's crun works.
#
#   tests/setup/crun.sh COMMAND [ARGUMENT...]
#
# crun 1.8 refuses a machine that has cgroup v1 and, in /sys/fs/cgroup/unified, a cgroup v2 without
# controllers ("cannot drop all controllers from cgroupv2"). In a mount namespace of its own, the
# command does not see the second. Elsewhere there is nothing to hide.
set -eu

"$(dirname "$0")/packages.sh" crun
if ! mountpoint -q /sys/fs/cgroup/unified; then
    exec "$@"
fi
# shellcheck disable=SC2016  # "$@" is the inner shell's
exec unshare --mount --propagation private sh -c 'umount /sys/fs/cgroup/unified && exec "$@"' sh "$@"
