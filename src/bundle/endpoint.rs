//! The file `address`: where the shim of this bundle listens, as containerd's shims leave it
//! (containerd `pkg/shim/util.go`, `WriteAddress`).
//!
//! ```text
//! unix:///run/containerd/s/<64 hex digits>        no newline
//! ```

use std::io;

use super::{Bundle, CorruptReason, Read, read_bytes};
use crate::sys::file;

/// Longer than any socket path may be.
const MAX_LEN: u64 = 4096;

/// Writes the address, durably.
///
/// # Errors
/// `InvalidInput` for what is no address; else what the file system answered.
pub fn write(bundle: &Bundle, address: &str) -> io::Result<()> {
    if let Err(reason) = parse(address.as_bytes()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    file::replace(&bundle.address(), address.as_bytes())
}

/// Reads the address.
#[must_use]
pub fn read(bundle: &Bundle) -> Read<String> {
    let path = bundle.address();
    read_bytes(&path, MAX_LEN).and_parse(&path, |bytes| parse(&bytes))
}

fn parse(bytes: &[u8]) -> Result<String, CorruptReason> {
    let malformed = || CorruptReason::Malformed(String::from_utf8_lossy(bytes).into_owned());
    let text = std::str::from_utf8(bytes).map_err(|_| malformed())?;
    match text.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') && !path.chars().any(char::is_control) => {
            Ok(text.to_owned())
        }
        Some(_) | None => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::scratch::Scratch;

    #[test]
    fn an_address_is_read_as_it_was_written() {
        let scratch = Scratch::new();
        let bundle = Bundle::new(scratch.path());
        assert!(matches!(read(&bundle), Read::Absent));
        write(&bundle, "unix:///run/s/a b").unwrap();
        assert!(matches!(read(&bundle), Read::Found(text) if text == "unix:///run/s/a b"));
    }

    #[test]
    fn what_is_no_address_is_neither_written_nor_believed() {
        let scratch = Scratch::new();
        let bundle = Bundle::new(scratch.path());
        for bad in [
            "",
            "unix://",
            "unix://x",
            "unix:///x\n",
            "/run/x",
            "unix:///a\0",
        ] {
            assert!(write(&bundle, bad).is_err(), "{bad:?}");
            scratch.write("address", bad);
            let found = read(&bundle);
            assert!(
                matches!(found, Read::Corrupt(_, CorruptReason::Malformed(_))),
                "{bad:?}: {found:?}"
            );
        }
        scratch.write("address", vec![b'x'; 5000]);
        assert!(matches!(
            read(&bundle),
            Read::Corrupt(_, CorruptReason::Unreadable(_))
        ));
    }
}
