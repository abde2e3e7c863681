//! The small files of a bundle: where the shim listens, and how the container was made.

use std::fs;
use std::io;
use std::path::Path;

use outlive::bundle::runtime::{self, RuntimeRecord};
use outlive::bundle::{Bundle, Read, endpoint as address};

use super::Scratch;
use super::document::Kind;

/// The file `address`: believed as it is or not at all, and what is not believed cannot be written either.
pub fn endpoint(bytes: &[u8]) {
    let scratch = Scratch::new();
    let bundle = Bundle::new(scratch.path());
    fs::write(bundle.address(), bytes).unwrap();
    let text = String::from_utf8_lossy(bytes);
    match address::read(&bundle) {
        Read::Absent => panic!("the file is there"),
        Read::Corrupt(path, _) => {
            assert_eq!(path, bundle.address());
            let is_short = bytes.len() <= 4096;
            if is_short && text.as_bytes() == bytes {
                assert!(address::write(&bundle, &text).is_err());
                assert_eq!(fs::read(bundle.address()).unwrap(), bytes);
            }
        }
        Read::Found(found) => {
            assert_eq!(found.as_bytes(), bytes);
            let socket = found.strip_prefix("unix://").unwrap();
            assert!(Path::new(socket).is_absolute());
            assert!(!socket.contains(['\n', '\0']));
            address::write(&bundle, &found).unwrap();
            assert!(matches!(address::read(&bundle), Read::Found(again) if again == found));
        }
    }
}

/// The file `runtime`.
pub fn runtime_record(bytes: &[u8]) {
    let kind = Kind {
        name: "runtime",
        read: |path| runtime::read(&of(path)),
        write: |record: &RuntimeRecord, path| -> io::Result<()> {
            assert!(record.root.is_absolute());
            assert!(!record.binary.as_os_str().is_empty());
            runtime::write(&of(path), record)
        },
    };
    kind.check(bytes);
}

/// The bundle with the file `path`.
fn of(path: &Path) -> Bundle {
    Bundle::new(path.parent().unwrap())
}
