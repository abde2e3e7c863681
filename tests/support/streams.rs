//! Readers of what was logged that share no code with the shim.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A record of a CRI log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub stream: String,
    pub full: bool,
    pub content: Vec<u8>,
}

/// The records of a file; every line must be one, with a time that is not before the last one of its stream.
pub fn records(path: &Path) -> Vec<Record> {
    let log = fs::read(path).unwrap();
    let mut times = BTreeMap::new();
    let mut lines: Vec<&[u8]> = log.split(|byte| *byte == b'\n').collect();
    assert_eq!(lines.pop(), Some(&[][..]), "{path:?} ends with a record");
    lines
        .into_iter()
        .map(|line| {
            let fields: Vec<_> = line.splitn(4, |byte| *byte == b' ').collect();
            let [time, stream, tag, content] = fields[..] else {
                panic!("{path:?}: {:?}", String::from_utf8_lossy(line));
            };
            let text = |field: &[u8]| String::from_utf8(field.to_vec()).unwrap();
            let (time, stream) = (text(time), text(stream));
            let form = time.replace(|c: char| c.is_ascii_digit(), "0");
            assert_eq!(form, "0000-00-00T00:00:00.000000000Z", "{time}");
            assert!(stream == "stdout" || stream == "stderr", "{stream}");
            assert!(tag == b"F" || tag == b"P", "{tag:?}");
            let before = times.insert(stream.clone(), time.clone());
            assert!(before.is_none_or(|before| before <= time));
            Record {
                stream,
                full: tag == b"F",
                content: content.to_vec(),
            }
        })
        .collect()
}

/// What a stream was, as far as it is in these records.
pub fn stream(records: &[Record], name: &str) -> String {
    let mut bytes = Vec::new();
    for record in records.iter().filter(|record| record.stream == name) {
        bytes.extend_from_slice(&record.content);
        if record.full {
            bytes.push(b'\n');
        }
    }
    String::from_utf8(bytes).unwrap()
}
