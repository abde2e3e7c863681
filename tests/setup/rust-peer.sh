#!/bin/sh
# Installs the Rust shim that `make bench` measures beside ours, below DIR/bin.
#
#   tests/setup/rust-peer.sh DIR
#
# Where it cannot be had, says so and goes on: the benchmark then leaves it out.
set -u

crate=containerd-runc-shim
version=0.2.0
[ -x "$1/bin/containerd-shim-runc-v2-rs" ] && exit 0
echo "building $crate $version to measure it too"
cargo install --quiet --locked --root "$1" --version "$version" "$crate" ||
    echo "$crate $version cannot be built here"
