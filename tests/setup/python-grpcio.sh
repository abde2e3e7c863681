#!/bin/sh
# Makes target/python, a Python with gRPC of PyPI: a client of the CRI socket that is not ours.
#
# It is complete when .complete is there, and then this does nothing.
set -eu

repo=$(cd "$(dirname "$0")/../.." && pwd)
python=$repo/target/python
[ ! -e "$python/.complete" ] || exit 0

"$repo/tests/setup/packages.sh" python3-venv
echo "fetching grpcio for Python"
rm -rf "$python"
/usr/bin/python3 -m venv "$python"
"$python/bin/pip" install --quiet --disable-pip-version-check --no-input grpcio
touch "$python/.complete"
