//! Taking away every mount on or below a directory, whoever made it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, ResolveFlag};
use nix::mount::{MntFlags, umount2};

use super::{Failure, target};

/// How long all busy mounts of a tree together are waited for, before they are detached instead.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(10);

/// One line of mountinfo (proc_pid_mountinfo(5)).
#[derive(Debug, PartialEq, Eq)]
struct Mounted {
    id: u64,
    parent: u64,
    point: PathBuf,
}

/// Unmounts all that is mounted on or below one of `roots`, what lies on top first. What could not be is returned.
///
/// # Errors
/// Where the list of mounts cannot be read.
pub(super) fn below(roots: &[PathBuf]) -> io::Result<Vec<Failure>> {
    let deadline = Instant::now() + PATIENCE;
    let mut left_before = usize::MAX;
    let mut errors = HashMap::new();
    loop {
        let mounted = mounted_below(roots)?;
        // A mount that hides under another one is only reached by the next round: hence as many as make it fewer.
        if mounted.is_empty() || mounted.len() >= left_before {
            let failed = |mount: Mounted| {
                let hidden = || Errno::EBUSY.into();
                let error = errors.remove(&mount.point).unwrap_or_else(hidden);
                Failure {
                    path: mount.point,
                    error,
                }
            };
            return Ok(mounted.into_iter().map(failed).collect());
        }
        left_before = mounted.len();
        errors.clear();
        for mount in mounted {
            if let Err(error) = unmount(&mount.point, deadline) {
                errors.insert(mount.point, error);
            }
        }
    }
}

/// Unmounts what lies on top at `point`. EBUSY is retried until `deadline`, then the mount is detached.
fn unmount(point: &Path, deadline: Instant) -> io::Result<()> {
    let (Some(parent), Some(name)) = (point.parent(), point.file_name()) else {
        return Err(Errno::EINVAL.into());
    };
    loop {
        let flags = if Instant::now() < deadline {
            MntFlags::UMOUNT_NOFOLLOW
        } else {
            MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH
        };
        match unmount_once(parent, Path::new(name), flags) {
            // EINVAL: no mount any more, or one under another. ENOENT, ENOTDIR, ELOOP: its place cannot be reached.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {
                return Ok(());
            }
            Err(Errno::EBUSY) if !flags.contains(MntFlags::MNT_DETACH) => std::thread::sleep(PAUSE),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Without following a symbolic link anywhere: the tree may be full of those that a container made.
fn unmount_once(parent: &Path, name: &Path, flags: MntFlags) -> nix::Result<()> {
    let parent = target::resolve(AT_FDCWD, parent, ResolveFlag::RESOLVE_NO_SYMLINKS)?;
    let at = format!("/proc/self/fd/{}", parent.as_fd().as_raw_fd());
    umount2(&Path::new(&at).join(name), flags)
}

/// The mounts on or below one of `roots`, children before their parents.
fn mounted_below(roots: &[PathBuf]) -> io::Result<Vec<Mounted>> {
    // Of the thread: one in a mount namespace of its own sees another list than the process.
    let mountinfo = fs::read("/proc/thread-self/mountinfo")?;
    let all = mountinfo
        .split(|&byte| byte == b'\n')
        .filter_map(parse)
        .collect::<Vec<_>>();
    let parents = all.iter().map(|mount| (mount.id, mount.parent)).collect();
    let mut found = all
        .into_iter()
        .filter(|mount| roots.iter().any(|root| mount.point.starts_with(root)))
        .map(|mount| (depth(&parents, mount.id), mount))
        .collect::<Vec<_>>();
    // Stable, so that of two equally deep ones the later comes first after the reversal.
    found.sort_by_key(|&(depth, _)| depth);
    Ok(found.into_iter().rev().map(|(_, mount)| mount).collect())
}

/// How many mounts `id` lies on. A stacked mount is the child of the one under it.
fn depth(parents: &HashMap<u64, u64>, id: u64) -> usize {
    let chain = std::iter::successors(Some(id), |id| parents.get(id).copied());
    // The list is not read in one step, so that a circle in it cannot be ruled out.
    chain.take(parents.len() + 1).count()
}

/// `ID PARENT MAJOR:MINOR ROOT POINT ...`
fn parse(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|&byte| byte == b' ');
    let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
    let (id, parent) = (number()?, number()?);
    let point = PathBuf::from(OsString::from_vec(unescape(fields.nth(2)?)));
    Some(Mounted { id, parent, point })
}

/// The kernel writes space, tab, newline and backslash as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| first == b'\\').and_then(octal);
        bytes.push(octal.unwrap_or(first));
        rest = octal.and_then(|_| after.get(3..)).unwrap_or(after);
    }
    bytes
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

/// The directory of mapped lower directories, in the bundle.
pub(super) const IDMAPPED: &str = "idmapped";

/// Removes `directory` and the directories in it, all empty. Never what is in those: it could be a lower directory's
/// own content, were its mount still there.
pub(super) fn remove_directories(directory: &Path) -> Result<(), Failure> {
    let failed = |path: &Path, error| Failure {
        path: path.to_owned(),
        error,
    };
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|error| failed(directory, error))?,
    };
    for entry in entries {
        let path = entry.map_err(|error| failed(directory, error))?.path();
        fs::remove_dir(&path).map_err(|error| failed(&path, error))?;
    }
    fs::remove_dir(directory).map_err(|error| failed(directory, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_is_read_with_the_characters_that_the_kernel_escapes() {
        let line =
            br"36 35 98:0 /mnt1 /a\040b\012c\134d\011 rw,noatime master:1 - ext3 /dev/root rw";
        let mounted = parse(line).unwrap();
        assert_eq!((mounted.id, mounted.parent), (36, 35));
        assert_eq!(mounted.point, Path::new("/a b\nc\\d\t"));
    }

    #[test]
    fn a_backslash_without_three_octal_digits_stays() {
        assert_eq!(unescape(br"a\04"), br"a\04");
        assert_eq!(unescape(br"\999x\"), br"\999x\");
        assert_eq!(unescape(br"\777"), br"\777");
    }

    #[test]
    fn lines_of_another_form_are_passed_over() {
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"1 2 3"), None);
        assert_eq!(parse(b"x 2 0:1 / / rw"), None);
    }

    #[test]
    fn a_circle_in_the_list_has_an_end() {
        let parents = HashMap::from([(1, 2), (2, 1), (3, 1)]);
        assert_eq!(depth(&parents, 3), 4);
    }
}
