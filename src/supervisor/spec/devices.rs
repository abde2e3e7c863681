//! The devices of a container: those the request names, all of the machine's for a privileged one.
//!
//! /dev/null, zero, full, random, urandom and tty are the OCI runtime's to make and to allow (OCI runtime spec,
//! `config-linux.md`, "Default Devices").

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use super::checks::absolute;
use super::{Privilege, SpecError};
use crate::api::cri;

/// What is in /dev and is no device of the machine's, or the container's own (containerd's `oci.HostDevices`).
const SKIPPED: [&str; 8] = [
    "pts",
    "shm",
    "fd",
    "mqueue",
    "console",
    ".lxc",
    ".lxd-mounts",
    ".udev",
];
/// Deeper than any /dev.
const MAX_DEPTH: usize = 16;

/// The devices to make and the rules of the control group that allow them.
#[derive(Debug)]
pub(super) struct Devices {
    pub(super) devices: Vec<LinuxDevice>,
    pub(super) rules: Vec<LinuxDeviceCgroup>,
}

fn rule(allow: Allow, device: Option<&LinuxDevice>, access: &str) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow == Allow::Yes)
        .set_typ(device.map(LinuxDevice::typ))
        .set_major(device.map(LinuxDevice::major))
        .set_minor(device.map(LinuxDevice::minor))
        .set_access(Some(access.to_owned()));
    rule
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Allow {
    Yes,
    No,
}

/// The device at `host`, to be seen at `container`; `None` where it is something else.
fn device(host: &Path, container: &Path) -> io::Result<Option<LinuxDevice>> {
    let meta = fs::metadata(host)?;
    let kind = if meta.file_type().is_char_device() {
        LinuxDeviceType::C
    } else if meta.file_type().is_block_device() {
        LinuxDeviceType::B
    } else {
        return Ok(None);
    };
    let number = |part: u64| i64::try_from(part).map_err(io::Error::other);
    let mut device = LinuxDevice::default();
    device
        .set_path(container.to_owned())
        .set_typ(kind)
        .set_major(number(major(meta.rdev()))?)
        .set_minor(number(minor(meta.rdev()))?)
        .set_file_mode(Some(meta.mode() & 0o7777))
        .set_uid(Some(meta.uid()))
        .set_gid(Some(meta.gid()));
    Ok(Some(device))
}

/// The devices below a directory, links left out: one of them is in the directory or is none of its devices.
fn below(
    host: &Path,
    container: &Path,
    depth: usize,
    found: &mut Vec<LinuxDevice>,
) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Ok(());
    }
    let mut entries = fs::read_dir(host)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        if SKIPPED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        let (host, container) = (host.join(&name), container.join(&name));
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => below(&host, &container, depth + 1, found)?,
            Ok(kind) if kind.is_symlink() => {}
            // A device may go while we look.
            Ok(_) => found.extend(device(&host, &container).ok().flatten()),
            Err(_) => {}
        }
    }
    Ok(())
}

/// One entry of the request: a device, or a directory with some.
fn requested(index: usize, asked: &cri::Device) -> Result<(Vec<LinuxDevice>, String), SpecError> {
    let cri::Device {
        container_path,
        host_path,
        permissions,
    } = asked;
    let field = |name: &str| format!("devices[{index}].{name}");
    let host = absolute(&field("host_path"), host_path)?;
    let container = match container_path.as_str() {
        "" => host,
        path => absolute(&field("container_path"), path)?,
    };
    if permissions.bytes().any(|byte| !b"rwm".contains(&byte)) {
        return Err(SpecError::invalid(
            field("permissions"),
            format!("{permissions:?} has other letters than r, w and m"),
        ));
    }
    let access = match permissions.as_str() {
        "" => "rwm",
        some => some,
    };
    let failed =
        |error: io::Error| SpecError::invalid(field("host_path"), format!("{host_path}: {error}"));
    // /dev/disk/by-id and the like are links.
    let host: PathBuf = fs::canonicalize(host_path).map_err(failed)?;
    let mut devices = Vec::new();
    if fs::metadata(&host).map_err(failed)?.is_dir() {
        below(&host, &container, 0, &mut devices).map_err(failed)?;
    } else {
        devices.extend(device(&host, &container).map_err(failed)?);
    }
    if devices.is_empty() {
        return Err(SpecError::invalid(
            field("host_path"),
            format!("{host_path} is no device, nor a directory with any"),
        ));
    }
    Ok((devices, access.to_owned()))
}

/// The container's devices. A privileged container gets every device below `dev` and may use all there are, made
/// later or by itself; others may use what they were given.
pub(super) fn devices(
    asked: &[cri::Device],
    privilege: Privilege,
    dev: &Path,
) -> Result<Devices, SpecError> {
    let mut devices = Vec::new();
    let mut rules = match privilege {
        Privilege::Privileged => {
            below(dev, Path::new("/dev"), 0, &mut devices).map_err(SpecError::io("list", dev))?;
            vec![rule(Allow::Yes, None, "rwm")]
        }
        Privilege::Confined => vec![rule(Allow::No, None, "rwm")],
    };
    for (index, asked) in asked.iter().enumerate() {
        let (found, access) = requested(index, asked)?;
        for device in found {
            devices.retain(|other: &LinuxDevice| other.path() != device.path());
            rules.push(rule(Allow::Yes, Some(&device), &access));
            devices.push(device);
        }
    }
    Ok(Devices { devices, rules })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::scratch::Scratch;
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    use std::os::unix::fs::symlink;

    fn asked(host: &str, container: &str, permissions: &str) -> cri::Device {
        cri::Device {
            host_path: host.into(),
            container_path: container.into(),
            permissions: permissions.into(),
        }
    }

    #[test]
    fn a_device_is_made_as_it_is_and_allowed_as_asked() {
        let found = devices(
            &[asked("/dev/null", "/dev/void", "r")],
            Privilege::Confined,
            Path::new("/dev"),
        )
        .unwrap();
        let [void] = &found.devices[..] else {
            panic!("{:?}", found.devices)
        };
        assert_eq!(void.path(), Path::new("/dev/void"));
        assert_eq!((void.major(), void.minor()), (1, 3));
        assert_eq!(void.typ(), LinuxDeviceType::C);
        let rules: Vec<_> = found.rules.iter().map(ToString::to_string).collect();
        assert_eq!(rules, ["a *:* rwm", "c 1:3 r"]);
        assert!(!found.rules[0].allow());
        assert!(found.rules[1].allow());
    }

    #[test]
    fn a_directory_stands_for_its_devices_and_a_link_for_what_it_leads_to() {
        let dev = Scratch::new();
        dev.write("snd/readme", "");
        let node = |name: &str, minor| {
            let path = dev.path().join(name);
            mknod(&path, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, minor)).unwrap();
        };
        node("snd/a", 3);
        node("snd/console", 5);
        std::fs::create_dir(dev.path().join("snd/pts")).unwrap();
        node("snd/pts/0", 5);
        std::fs::create_dir(dev.path().join("snd/deep")).unwrap();
        node("snd/deep/b", 7);
        symlink("snd", dev.path().join("link")).unwrap();
        let link = dev.path().join("link");
        let found = devices(
            &[asked(link.to_str().unwrap(), "/dev/s", "")],
            Privilege::Confined,
            Path::new("/dev"),
        );
        let found = found.unwrap();
        let paths: Vec<_> = found.devices.iter().map(|device| device.path()).collect();
        assert_eq!(paths, [Path::new("/dev/s/a"), Path::new("/dev/s/deep/b")]);
        assert_eq!(found.rules[2].access().as_deref(), Some("rwm"));
        let all = devices(&[], Privilege::Privileged, dev.path()).unwrap();
        assert_eq!(all.devices.len(), 2);
        assert_eq!(all.devices[0].path(), Path::new("/dev/snd/a"));
        assert!(all.rules[0].allow());
    }

    #[test]
    fn what_is_no_device_names_its_field() {
        for (device, field) in [
            (asked("/dev/nothing-here", "", ""), "devices[0].host_path"),
            (asked("/etc/passwd", "", "r"), "devices[0].host_path"),
            (asked("null", "", "r"), "devices[0].host_path"),
            (asked("/dev/null", "null", "r"), "devices[0].container_path"),
            (asked("/dev/null", "", "rx"), "devices[0].permissions"),
        ] {
            let error = devices(&[device], Privilege::Confined, Path::new("/dev")).unwrap_err();
            assert_eq!(error.field(), Some(field));
        }
    }
}
