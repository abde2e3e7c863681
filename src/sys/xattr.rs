//! Extended attributes by path (xattr(7)), of the last component itself where that is a symbolic link.
//!
//! A caller that holds a directory open names what is in it as `/proc/self/fd/N/NAME`: the link of /proc leads to the
//! open directory whatever became of its path.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::errno::Errno;

/// Bytes; the kernel's own limits on a value and on a list (XATTR_SIZE_MAX, XATTR_LIST_MAX).
const LARGEST: usize = 64 << 10;

/// Sets the attribute `name` of `path` (lsetxattr(2)).
///
/// # Errors
/// What the kernel answered.
pub fn set(path: &Path, name: &OsStr, value: &[u8]) -> io::Result<()> {
    let (path, name) = (c_string(path.as_os_str())?, c_string(name)?);
    // SAFETY: both strings end with NUL and `value` is readable for its length, all for the length of the call.
    let set = unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    Errno::result(set)?;
    Ok(())
}

/// The attribute `name` of `path` (lgetxattr(2)); `None` where it has none, or the file system knows none.
///
/// # Errors
/// What the kernel answered.
pub fn get(path: &Path, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
    let (path, name) = (c_string(path.as_os_str())?, c_string(name)?);
    let mut value = vec![0; LARGEST];
    // SAFETY: both strings end with NUL and `value` is writable for its length, all for the length of the call.
    let length = unsafe {
        libc::lgetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    match Errno::result(length) {
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
        other => {
            value.truncate(usize::try_from(other?).unwrap_or_default());
            value.shrink_to_fit();
            Ok(Some(value))
        }
    }
}

/// The names of the attributes of `path` (llistxattr(2)); none where the file system knows none.
///
/// # Errors
/// What the kernel answered.
pub fn list(path: &Path) -> io::Result<Vec<OsString>> {
    let path = c_string(path.as_os_str())?;
    let mut names = vec![0_u8; LARGEST];
    // SAFETY: `path` ends with NUL and `names` is writable for its length, both for the length of the call.
    let length = unsafe { libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    match Errno::result(length) {
        Err(Errno::EOPNOTSUPP) => Ok(Vec::new()),
        other => {
            names.truncate(usize::try_from(other?).unwrap_or_default());
            let names = names.split(|&byte| byte == 0);
            Ok(names
                .filter(|name| !name.is_empty())
                .map(|name| OsString::from_vec(name.to_vec()))
                .collect())
        }
    }
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    Ok(CString::new(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::scratch::Scratch;

    #[test]
    fn an_attribute_is_read_back_and_listed_and_a_missing_one_is_none() {
        let scratch = Scratch::new();
        scratch.write("file", "");
        let path = scratch.path().join("file");
        let name = OsStr::new("trusted.outlive");
        assert_eq!(get(&path, name).unwrap(), None);
        set(&path, name, b"a\0\nb").unwrap();
        assert_eq!(get(&path, name).unwrap().unwrap(), b"a\0\nb");
        assert!(list(&path).unwrap().iter().any(|listed| listed == name));
        assert!(get(&scratch.path().join("none"), name).is_err());
    }
}
