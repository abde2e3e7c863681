#!/bin/sh
# Checks shim-config/ with the containerds that it is for: each one loads its file, as it is and with
# every setting in it that is off ("#[table]" and the keys below it) on, and has the runtime `outlive` afterwards.
set -eu

repo=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/outlive-config.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

failed=0
# check NAME CONTAINERD FILE PLUGIN: FILE gives PLUGIN the runtime.
check() {
    # A table's header is "#[", the keys below it are "#  key = value".
    sed 's/^\( *\)#\[/\1[/; s/^\( *\)#  \([A-Za-z_]* = \)/\1  \2/' "$repo/shim-config/$3" >"$work/enabled.toml"
    for file in "$repo/shim-config/$3" "$work/enabled.toml"; do
        # Newer ones quote with ', older ones with ". Warnings of the daemon go to stderr.
        if ! "$2" --config "$file" config dump >"$work/dump" 2>"$work/errors"; then
            echo "containerd $1 refuses $3:"
            cat "$work/errors"
            failed=1
        elif ! tr "'" '"' <"$work/dump" | grep -A20 "plugins.\"$4\".containerd.runtimes.outlive\]" |
            grep -q 'runtime_type = "io.containerd.outlive.v2"'; then
            echo "containerd $1 has no runtime outlive after $3"
            failed=1
        elif [ "$file" = "$work/enabled.toml" ] &&
            ! tr "'" '"' <"$work/dump" | grep -q 'default_runtime_name = "outlive"'; then
            echo "containerd $1 does not take the settings of $3"
            failed=1
        fi
    done
    [ "$failed" = 1 ] || echo "containerd $1 takes $3"
}

check 1.6 /usr/bin/containerd containerd-1.x.toml io.containerd.grpc.v1.cri
check 1.7 "$repo/target/containerd/1.7/usr/bin/containerd" containerd-1.x.toml io.containerd.grpc.v1.cri
check 2.x "$repo/target/containerd/2.x/usr/bin/containerd" containerd-2.x.toml io.containerd.cri.v1.runtime
exit "$failed"
