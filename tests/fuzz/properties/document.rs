//! A document of JSON with a version, in a file: what all of them have in common.
//!
//! What is believed is written again with the same meaning, and read again as the same. Nothing shorter is believed,
//! nothing of a later version, and nothing with a key that would be dropped.

use std::fmt::Debug;
use std::fs;
use std::io;
use std::path::Path;

use outlive::bundle::{CorruptReason, Read};
use serde_json::Value;

use super::Scratch;

/// One kind of document.
pub struct Kind<T> {
    /// The file's name, which some readers know by themselves.
    pub name: &'static str,
    /// Reads the file.
    pub read: fn(&Path) -> Read<T>,
    /// Writes it.
    pub write: fn(&T, &Path) -> io::Result<()>,
}

impl<T: PartialEq + Debug> Kind<T> {
    /// Checks it with the file `bytes`.
    pub fn check(&self, bytes: &[u8]) {
        let scratch = Scratch::new();
        let path = scratch.write(self.name, bytes);
        let found = match (self.read)(&path) {
            Read::Found(found) => found,
            Read::Absent => panic!("the file is there"),
            Read::Corrupt(at, reason) => {
                assert_eq!(at, path);
                if let CorruptReason::Version(version) = reason {
                    assert_ne!(version, 1);
                }
                return;
            }
        };
        let said: Value = serde_json::from_slice(bytes).expect("what is believed is JSON");
        assert_eq!(said.get("version"), Some(&Value::from(1)));
        (self.write)(&found, &path).unwrap();
        let written = fs::read(&path).unwrap();
        let again = serde_json::from_slice(&written).unwrap();
        if !has_positions(&said) {
            assert_eq!(meaning(&said), meaning(&again), "{found:?}");
        }
        match (self.read)(&path) {
            Read::Found(again) => assert_eq!(again, found),
            other => panic!("what was written is {other:?}"),
        }
        self.check_unbelievable(&path, &written, again);
    }

    /// Changes after which `written`, which is `value`, may not be believed.
    fn check_unbelievable(&self, path: &Path, written: &[u8], mut value: Value) {
        let step = written.len() / 12 + 1;
        for cut in (0..written.len()).step_by(step).chain([written.len() - 1]) {
            fs::write(path, &written[..cut]).unwrap();
            let read = (self.read)(path);
            assert!(matches!(read, Read::Corrupt(..)), "cut at {cut}: {read:?}");
        }
        value["later"] = Value::from(1);
        fs::write(path, value.to_string()).unwrap();
        let read = (self.read)(path);
        assert!(
            matches!(read, Read::Corrupt(_, CorruptReason::Malformed(_))),
            "with an unknown key: {read:?}"
        );
        value["version"] = Value::from(2);
        fs::write(path, value.to_string()).unwrap();
        let read = (self.read)(path);
        assert!(
            matches!(read, Read::Corrupt(_, CorruptReason::Version(2))),
            "of version 2: {read:?}"
        );
    }
}

/// `value` in the one form of all that mean the same.
fn meaning(value: &Value) -> Value {
    let object = match value {
        Value::Object(object) => object,
        Value::Array(items) => return items.iter().map(meaning).collect(),
        other => return other.clone(),
    };
    if let (1, Some((key, Value::Null))) = (object.len(), object.iter().next()) {
        return Value::from(key.as_str());
    }
    let mut meant = serde_json::Map::new();
    for (key, value) in object {
        let value = match (key.as_str(), value) {
            (_, Value::Null) => continue,
            ("boot_id", Value::String(digits)) => {
                Value::from(u128::from_str_radix(digits, 16).unwrap().to_string())
            }
            // Messages of protobuf: whether they are the same is told by reading them again.
            ("config" | "resources", Value::String(_)) => continue,
            (_, value) => meaning(value),
        };
        meant.insert(key.clone(), value);
    }
    Value::Object(meant)
}

/// Whether an object is written as the list of its values, which is read too.
fn has_positions(value: &Value) -> bool {
    let object = match value {
        Value::Object(object) => object,
        Value::Array(_) => return true,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return false,
    };
    object.iter().any(|(key, value)| match key.as_str() {
        // Lists, and what is kept as others have written it.
        "layers" | "plugins" | "capabilities" | "result" => false,
        "networks" => {
            let networks = value.as_array().map(Vec::as_slice).unwrap_or_default();
            networks.iter().any(has_positions)
        }
        _ => has_positions(value),
    })
}
