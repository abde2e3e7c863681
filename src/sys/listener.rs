//! Which processes have a listening unix socket open: a server that does not answer is found by its socket.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::proc;
use crate::types::{Pid, ProcessIdentity};

/// `__SO_ACCEPTCON`, in the flags of a socket that listens (include/linux/net.h).
const LISTENS: u32 = 1 << 16;

/// The processes that have the socket open which listens on `path`, zombies left out: none where no socket does. Looks
/// through the descriptors of all processes that procfs shows.
///
/// # Errors
/// What reading /proc/net/unix or /proc answered.
pub fn holders(path: &Path) -> io::Result<Vec<ProcessIdentity>> {
    let table = fs::read("/proc/net/unix")?;
    let inodes: Vec<_> = table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| listening(line, path))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let mut found = Vec::new();
    if inodes.is_empty() {
        return Ok(found);
    }
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Some(identity) = Pid::new(pid).and_then(|pid| proc::running(pid).ok()) else {
            continue;
        };
        // Between two looks at it: the descriptors are the identity's.
        if has_one(pid, &inodes) && proc::running(identity.pid).is_ok_and(|now| now == identity) {
            found.push(identity);
        }
    }
    Ok(found)
}

/// The inode in a line `NUM: REFS PROTOCOL FLAGS TYPE STATE INODE PATH`, where it is of a socket that listens on `path`.
fn listening(line: &[u8], path: &Path) -> Option<u64> {
    let line = line.strip_suffix(path.as_os_str().as_bytes())?;
    let fields: Vec<_> = std::str::from_utf8(line)
        .ok()?
        .split_ascii_whitespace()
        .collect();
    let [_, _, _, flags, _, _, inode] = fields[..] else {
        return None;
    };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    (flags & LISTENS != 0).then_some(inode.parse().ok()?)
}

fn has_one(pid: u32, inodes: &[String]) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
    // A process that ends meanwhile has none.
    descriptors
        .into_iter()
        .flatten()
        .flatten()
        .any(|descriptor| {
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            inodes.iter().any(|inode| target == Path::new(inode))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::scratch::Scratch;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn the_process_that_listens_is_found_and_one_that_is_connected_is_not() {
        let scratch = Scratch::new();
        let path = scratch.path().join("s");
        assert_eq!(holders(&path).unwrap(), []);
        let listener = UnixListener::bind(&path).unwrap();
        let own = proc::identity(Pid::new(std::process::id()).unwrap()).unwrap();
        assert_eq!(holders(&path).unwrap(), [own]);
        let connected = UnixStream::connect(&path).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        drop(listener);
        assert_eq!(holders(&path).unwrap(), []);
        drop((connected, accepted));
    }

    #[test]
    fn only_the_whole_path_of_a_listening_socket_counts() {
        let path = Path::new("/run/s/ab");
        let line = |flags: &str, path: &str| {
            let line = format!("0000000000000000: 00000002 00000000 {flags} 0001 01 4242 {path}");
            line.into_bytes()
        };
        assert_eq!(listening(&line("00010000", "/run/s/ab"), path), Some(4242));
        assert_eq!(listening(&line("00000000", "/run/s/ab"), path), None);
        assert_eq!(listening(&line("00010000", "/x/run/s/ab"), path), None);
        assert_eq!(
            listening(b"Num RefCount Protocol Flags Type St Inode Path", path),
            None
        );
    }
}
