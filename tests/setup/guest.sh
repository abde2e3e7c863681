#!/bin/sh
# Builds the guest that tests/guest/run.sh boots:
#
#   target/guest/vmlinuz         Debian 12's cloud kernel
#   target/guest/initramfs       the whole system: busybox, containerd 1.6, runc, crun, criu,
#                                the shim and the given test programs, with the libraries they need
#
#   tests/setup/guest.sh SHIM TEST_PROGRAM...
#
# Kernel and criu are downloaded by the machine's own apt and unpacked, never
# installed; that part is kept in target/guest/parts. The rest is put together on
# each call, since it holds what was just built.
set -eu

repo=$(cd "$(dirname "$0")/../.." && pwd)
out=${GUEST_DIR:-$repo/target/guest}
parts=$out/parts

# Modules that the tests need, in the order in which init loads them; their dependencies come along.
#   overlay..fuse    root filesystems and networks of containers
#   tun..raw_diag    what `criu check` and a dump ask the kernel for
#   nf_*, nft_*, xt_*, ip*   how criu holds a checkpointed container's network still
modules="overlay loop ext4 veth bridge dummy fuse
tun inet_diag tcp_diag udp_diag unix_diag netlink_diag af_packet_diag raw_diag
nfnetlink nf_conntrack_netlink nf_tables nft_compat nft_chain_nat xt_mark xt_conntrack xt_tcpudp
ip_tables iptable_filter ip6_tables ip6table_filter"

if [ $# -lt 2 ]; then
    echo "usage: guest.sh SHIM TEST_PROGRAM..." >&2
    exit 2
fi
shim=$1
shift

"$repo/tests/setup/packages.sh" busybox-static cpio binutils containerd runc crun e2fsprogs iproute2 iptables qemu-system-x86
mkdir -p "$out"
exec 9>"$out/.lock"
flock 9

# --- what is downloaded ---------------------------------------------------------

quiet_apt() {
    apt-get -qq -y -o APT::Sandbox::User=root -o Acquire::Retries=3 "$@"
}

# The kernel's package, and criu with those of its libraries that this machine lacks.
download() {
    kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2; exit }')
    [ -n "$kernel" ] || return 1
    (cd "$1" && quiet_apt download "$kernel") || return 1
    mkdir -p "$1/partial"
    quiet_apt -o Debug::NoLocking=1 -o Dir::Cache::archives="$1/" \
        --download-only --reinstall --no-install-recommends install criu </dev/null
}

if [ ! -e "$parts" ]; then
    echo "fetching the guest's kernel and criu"
    rm -rf "$out"/.parts.*
    work=$out/.parts.$$
    mkdir -p "$work/deb" "$work/kernel" "$work/criu"
    attempt=1
    until download "$work/deb"; do
        if [ "$attempt" = 3 ]; then
            echo "the guest's packages cannot be downloaded" >&2
            rm -rf "$work"
            exit 1
        fi
        attempt=$((attempt + 1))
        # The lists may be absent or older than the archive.
        quiet_apt -o DPkg::Lock::Timeout=600 update || sleep 3
    done
    for package in "$work"/deb/*.deb; do
        case $package in
        */linux-image-*) dpkg -x "$package" "$work/kernel" ;;
        */python3*) ;; # of criu's python programs, which nobody runs
        *) dpkg -x "$package" "$work/criu" ;;
        esac
    done
    release=$(ls "$work/kernel/lib/modules")
    busybox depmod -b "$work/kernel" "$release"
    rm -rf "$work/deb"
    mv "$work" "$parts"
fi
release=$(ls "$parts/kernel/lib/modules")

# --- the root -------------------------------------------------------------------

root=$out/.root
rm -rf "$root"
mkdir -p "$root"
for dir in dev etc/outlive guest-tests proc root run sys tmp usr/bin usr/lib usr/sbin var/lib; do
    mkdir -p "$root/$dir"
done
# As Debian lays it out, so that a path that a test names is the same here and there.
ln -s usr/bin "$root/bin"
ln -s usr/lib "$root/lib"
ln -s usr/lib64 "$root/lib64"
ln -s usr/sbin "$root/sbin"

# Copies the libraries of program or library $1, as the loader would find them here.
libraries() {
    LD_LIBRARY_PATH="$parts/criu/usr/lib/x86_64-linux-gnu:$parts/criu/lib/x86_64-linux-gnu" ldd "$1" 2>/dev/null |
        awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }' |
        while read -r library; do
            # A library below the unpacked criu has the same place in the guest.
            place=${library#"$parts/criu"}
            case $place in
            /usr/* | /lib64/*) ;;
            *) place=/usr$place ;;
            esac
            case $place in /lib64/*) place=/usr$place ;; esac
            if [ ! -e "$root$place" ]; then
                mkdir -p "$root${place%/*}"
                cp -L "$library" "$root$place"
            fi
        done
}

# Puts program $1 at $2 without its debug information, with its libraries.
program() {
    mkdir -p "$root${2%/*}"
    rm -f "$root$2" # it may be an applet's link, and would be written through
    strip -o "$root$2" "$1" 2>/dev/null || cp -L "$1" "$root$2"
    chmod 755 "$root$2"
    libraries "$1"
}

cp -L "$(command -v busybox)" "$root/bin/busybox"
for applet in $("$root/bin/busybox" --list); do
    case $applet in busybox | dpkg | dpkg-deb | rpm | rpm2cpio | init) continue ;; esac
    ln -s busybox "$root/bin/$applet"
done

for name in containerd ctr containerd-shim-runc-v2 runc crun xtables-nft-multi; do
    path=$(PATH=$PATH:/usr/sbin:/sbin command -v "$name")
    case $name in
    # Where Debian has them: the harness names some of these by path.
    runc | xtables-nft-multi) program "$path" "/usr/sbin/$name" ;;
    *) program "$path" "/usr/bin/$name" ;;
    esac
done
for name in iptables ip6tables iptables-save ip6tables-save iptables-restore ip6tables-restore; do
    ln -s xtables-nft-multi "$root/usr/sbin/$name"
done
for name in mark standard conntrack tcp; do
    for extension in /usr/lib/x86_64-linux-gnu/xtables/lib*t_"$name".so; do
        [ ! -e "$extension" ] || program "$extension" "$extension"
    done
done
# criu keeps a tmpfs as an archive of GNU tar, with options that busybox lacks, and saves a
# network namespace with iproute2.
program "$(command -v tar)" /usr/bin/tar
program "$(PATH=$PATH:/usr/sbin:/sbin command -v ip)" /usr/bin/ip
program "$parts/criu/usr/sbin/criu" /usr/sbin/criu
# Images for the tests of mounts.
program "$(PATH=$PATH:/usr/sbin:/sbin command -v mke2fs)" /usr/sbin/mkfs.ext4
program "$shim" /usr/bin/containerd-shim-outlive-v2
for test in "$@"; do
    # "task-0123456789abcdef" as cargo names it.
    name=$(basename "$test" | sed 's/-[0-9a-f]\{16\}$//')
    program "$test" "/guest-tests/$name"
done
# What is opened at run time and so not in ldd's list: user names, and pthread_exit's unwinder.
for library in libnss_files.so.2 libgcc_s.so.1; do
    cp -L "/lib/x86_64-linux-gnu/$library" "$root/usr/lib/x86_64-linux-gnu/" 2>/dev/null || true
done

for module in $modules; do
    file=$(sed -n "s,^\(\([^:]*/\)\?$module\.ko\):.*,\1,p" "$parts/kernel/lib/modules/$release/modules.dep")
    # A later kernel may have one built in.
    [ -n "$file" ] || continue
    needed=$(sed -n "s,^$file:,,p" "$parts/kernel/lib/modules/$release/modules.dep")
    for one in $file $needed; do
        to=$root/usr/lib/modules/$release/${one%/*}
        mkdir -p "$to"
        cp "$parts/kernel/lib/modules/$release/$one" "$to/"
    done
    echo "$module" >>"$root/etc/modules"
done
busybox depmod -b "$root" "$release" 2>/dev/null

echo "root:x:0:0:root:/root:/bin/sh" >"$root/etc/passwd"
echo "root:x:0:" >"$root/etc/group"
echo "127.0.0.1 localhost" >"$root/etc/hosts"
: >"$root/etc/resolv.conf" # a container on the host's network has it mounted
echo "guest" >"$root/etc/hostname"
cp /etc/os-release "$root/etc/os-release"
echo "$repo" >"$root/etc/outlive/directory"
install -m 755 "$repo/tests/guest/init" "$root/init"
install -m 644 "$repo/tests/guest/plan" "$root/etc/outlive/plan"

# --- the images -----------------------------------------------------------------

# Not compressed: qemu hands it over in memory, and unpacking costs an emulated processor seconds.
(cd "$root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) >"$out/.initramfs"
mv "$out/.initramfs" "$out/initramfs"
cp "$parts/kernel/boot/vmlinuz-$release" "$out/vmlinuz"
echo "guest: kernel $release, $(du -sm "$root" | cut -f1) MB, $# test program(s)"
rm -rf "$root"
