#!/bin/sh
# Makes target/python, a Python with gRPC of PyPI: a client of the CRI socket that is not ours.
#
# It is complete when .complete-VERSION is there, and then this does nothing.
set -eu

repo=$(cd "$(dirname "$0")/../.." && pwd)
python=$repo/target/python
version=1.85.3
[ ! -e "$python/.complete-$version" ] || exit 0

"$repo/tests/setup/packages.sh" python3-venv
echo "fetching grpcio for Python"
rm -rf "$python"
/usr/bin/python3 -m venv "$python"
"$python/bin/pip" install --quiet --disable-pip-version-check --no-input --only-binary :all: "grpcio==$version"
touch "$python/.complete-$version"
