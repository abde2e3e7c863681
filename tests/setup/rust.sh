#!/bin/sh
# Makes sure of what cargo needs: cargo itself, a linker, and the components named as arguments.
#
#   tests/setup/rust.sh [rustfmt|clippy]...
set -eu

here=$(cd "$(dirname "$0")" && pwd)
if ! command -v cargo >/dev/null 2>&1; then
    echo "no cargo on PATH: install Rust first (https://rustup.rs)" >&2
    exit 1
fi
"$here/packages.sh" --command cc gcc libc6-dev
# The CRI bindings are made from the protocol's definition when they are compiled.
"$here/packages.sh" --command protoc protobuf-compiler
for component in "$@"; do
    case $component in
    rustfmt) command="cargo fmt --version" ;;
    *) command="cargo $component --version" ;;
    esac
    if ! $command >/dev/null 2>&1; then
        echo "adding $component"
        rustup component add "$component"
    fi
done
