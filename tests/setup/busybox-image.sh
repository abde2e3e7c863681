#!/bin/bash
# Makes an image of Debian's busybox-static as `docker save` writes it: one layer, its configuration, a manifest.
#
#   tests/setup/busybox-image.sh ARCHIVE [NAME]        NAME: busybox:latest
set -euo pipefail

archive=$(realpath -m "$1")
name=${2:-busybox:latest}
here=$(cd "$(dirname "$0")" && pwd)
"$here/packages.sh" busybox-static

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rootfs=$work/rootfs
mkdir -p "$rootfs"/{bin,dev,etc,proc,root,run,sys,tmp,var}
chmod 1777 "$rootfs/tmp"
cp /bin/busybox "$rootfs/bin/busybox"
for applet in $(/bin/busybox --list); do
    [ "$applet" = busybox ] || ln -s busybox "$rootfs/bin/$applet"
done
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$rootfs/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$rootfs/etc/group"

# The same input makes the same digests: names sorted, no times.
pack() { tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$1" -cf "$2" .; }
mkdir -p "$work/image/layer"
pack "$rootfs" "$work/image/layer/layer.tar"
diff_id=$(sha256sum "$work/image/layer/layer.tar" | cut -d' ' -f1)
cat >"$work/config" <<END
{"architecture":"$(dpkg --print-architecture)","os":"linux","created":"1970-01-01T00:00:00Z",
 "config":{"Cmd":["/bin/sh"],"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
 "rootfs":{"type":"layers","diff_ids":["sha256:$diff_id"]}}
END
config=$(sha256sum "$work/config" | cut -d' ' -f1)
mv "$work/config" "$work/image/$config.json"
echo "[{\"Config\":\"$config.json\",\"RepoTags\":[\"$name\"],\"Layers\":[\"layer/layer.tar\"]}]" >"$work/image/manifest.json"
pack "$work/image" "$archive"
