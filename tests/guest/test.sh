#!/bin/sh
# `make test-guest`: builds the test programs and the guest, boots it, runs them there.
#
#   tests/guest/test.sh SHIM [ARGUMENT...]      arguments of the test programs: a filter, --nocapture
#
# Without arguments the guest runs what tests/guest/plan says. GUEST_TESTS says which programs are
# there, as cargo's options name them.
set -eu

repo=$(cd "$(dirname "$0")/../.." && pwd)
shim=$1
shift
cd "$repo"
# shellcheck disable=SC2086  # options, one word each
build() { cargo test --quiet --locked --features crash-points --no-run ${GUEST_TESTS:---lib --test guest --test task --test mounts} "$@"; }
build
# cargo tells one JSON object a line; a test program is one built in the test profile.
programs=$(build --message-format=json-render-diagnostics |
    sed -n 's/.*"profile":{[^}]*"test":true}.*"executable":"\([^"]*\)".*/\1/p')
if [ -z "$programs" ]; then
    echo "cargo built no test program for the guest" >&2
    exit 1
fi
# shellcheck disable=SC2086  # one program a word: cargo's names have no blanks
tests/setup/guest.sh "$shim" $programs
exec tests/guest/run.sh "$@"
