#!/bin/sh
# Installs the Debian packages named as arguments that are not installed yet.
#
#   tests/setup/packages.sh PACKAGE...
#   tests/setup/packages.sh --command NAME PACKAGE     only when NAME is not on PATH
#
# Says what it installs, asks nothing, and starts no service. It does nothing at
# all, and needs no rights, when everything is there.
set -eu

if [ "${1:-}" = "--command" ]; then
    if command -v "$2" >/dev/null 2>&1; then
        exit 0
    fi
    shift 2
fi

missing=
for package in "$@"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "these Debian packages are missing and only root can install them:$missing" >&2
    exit 1
fi
echo "installing$missing"

# A service that a package brings must not be started: the tests start their own.
# policy-rc.d is the switch that every Debian maintainer script asks (101: refused).
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

DEBIAN_FRONTEND=noninteractive
export DEBIAN_FRONTEND
install_missing() {
    # Word splitting is wanted: one argument per package.
    # shellcheck disable=SC2086
    apt-get -qq -y -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 \
        install --no-install-recommends $missing </dev/null
}

# The package lists may be absent (a fresh machine) or too old (a 404 on download).
if ! install_missing >/dev/null 2>&1; then
    apt-get -qq -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 update
    install_missing
fi
