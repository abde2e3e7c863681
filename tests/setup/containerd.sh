#!/bin/sh
# Fetches the containerds that the tests run besides the system's own 1.6:
#
#   target/containerd/1.7/usr/bin/containerd   of Debian trixie
#   target/containerd/2.x/usr/bin/containerd   of Debian sid, which moves: the version is printed
#   target/containerd/versions                 one line each: 1.6, 1.7, 2.x and what they are
#
# Both packages run on Debian 12 unpacked. They come from wherever this machine's
# own apt gets Debian from: its source entries are copied with only the suite
# replaced, and apt is pointed at that copy alone. A directory that is there is
# complete (it is renamed into place), so a second run does nothing.
set -eu

repo=$(cd "$(dirname "$0")/../.." && pwd)
root=${CONTAINERD_DIR:-$repo/target/containerd}
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")

# Writes to directory $2 this machine's sources of the suite `$codename` as sources of suite $1.
# Only entries that name the release itself count; "-security" and "-updates" exist per release.
copy_sources() {
    mkdir -p "$2"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] || continue
        # deb [options] URI suite component...: the suite is the second field after the options.
        awk -v from="$codename" -v to="$1" '
            $1 == "deb" {
                at = 2
                if ($2 ~ /^\[/) { while ($at !~ /\]$/ && at < NF) at++; at++ }
                if ($(at + 1) != from) next
                $(at + 1) = to
                print
            }' "$file" >>"$2/$1.list"
    done
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] || continue
        # Stanzas are paragraphs of "Field: value" lines.
        awk -v from="$codename" -v to="$1" '
            BEGIN { RS = ""; FS = "\n" }
            {
                wanted = 0; stanza = ""
                for (i = 1; i <= NF; i++) {
                    if ($i ~ /^#/) continue
                    if ($i ~ /^Suites:/) {
                        count = split($i, words, /[ \t]+/)
                        for (w = 2; w <= count; w++) if (words[w] == from) wanted = 1
                        stanza = stanza "Suites: " to "\n"
                    } else stanza = stanza $i "\n"
                }
                if (wanted) print stanza
            }' "$file" >>"$2/$1.sources"
    done
    # An empty .sources file is an error to apt.
    for file in "$2"/*; do
        [ -s "$file" ] || rm -f "$file"
    done
    if [ -z "$(ls "$2")" ]; then
        echo "apt on this machine has no source of Debian $codename to derive $1 from" >&2
        return 1
    fi
}

# apt that sees only the sources, lists and caches under directory $1.
apt_under() {
    under=$1
    shift
    apt-get -qq -o APT::Sandbox::User=root -o Acquire::Retries=3 -o Acquire::Languages=none \
        -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$under/sources" \
        -o Dir::State::Lists="$under/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= "$@"
}

# Unpacks suite $1's containerd to $root/$2.
fetch() {
    [ -x "$root/$2/usr/bin/containerd" ] && return 0
    echo "fetching containerd $2 (Debian $1)"
    work=$root/.fetch-$2.$$
    rm -rf "$work"
    mkdir -p "$work/lists/partial" "$work/deb" "$work/root"
    copy_sources "$1" "$work/sources"
    attempt=1
    until apt_under "$work" update && (cd "$work/deb" && apt_under "$work" download containerd); do
        if [ "$attempt" = 3 ]; then
            echo "containerd of Debian $1 cannot be downloaded" >&2
            rm -rf "$work"
            return 1
        fi
        attempt=$((attempt + 1))
        echo "download failed, attempt $attempt"
        sleep 3
    done
    dpkg -x "$work"/deb/containerd_*.deb "$work/root"
    rm -rf "${root:?}/$2"
    mv "$work/root" "$root/$2"
    rm -rf "$work"
}

"$repo/tests/setup/packages.sh" containerd runc
mkdir -p "$root"
# One at a time, also when two checkouts' makes share the directory.
exec 9>"$root/.lock"
flock 9
fetch trixie 1.7
fetch sid 2.x

# "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+b1": the third word.
version() {
    "$1" --version | awk '{ print $3 }'
}
{
    echo "1.6 $(version /usr/bin/containerd)"
    echo "1.7 $(version "$root/1.7/usr/bin/containerd")"
    echo "2.x $(version "$root/2.x/usr/bin/containerd")"
} >"$root/.versions.$$"
mv "$root/.versions.$$" "$root/versions"
sed 's/^/containerd /' "$root/versions"
