//! What stands behind the path of a stdio URI, and percent escapes.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};

use super::{Rotation, StdioError};

/// The longest record of a CRI log, as in containerd's configuration (`max_container_log_line_size`).
const DEFAULT_MAX_LINE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(16 * 1024 - 1);
/// How many old files are kept if that is not said; Kubernetes' own default (`containerLogMaxFiles`).
const DEFAULT_MAX_FILES: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);

/// What can be said about a log.
#[derive(Debug, Default)]
pub(super) struct LogParameters {
    pub(super) max_line: Option<NonZeroUsize>,
    pub(super) rotation: Option<Rotation>,
}

impl LogParameters {
    /// `max-size`, `max-files`.
    pub(super) fn of_file(uri: &str, query: &str) -> Result<Self, StdioError> {
        Self::parse(uri, query, &["max-size", "max-files"])
    }

    /// `max-line`, `max-size`, `max-files`.
    pub(super) fn of_cri(uri: &str, query: &str) -> Result<Self, StdioError> {
        Self::parse(uri, query, &["max-line", "max-size", "max-files"])
    }

    fn parse(uri: &str, query: &str, known: &[&'static str]) -> Result<Self, StdioError> {
        let bad = |key, reason| StdioError::BadValue {
            uri: uri.to_owned(),
            key,
            reason,
        };
        let mut given: Vec<(&'static str, i64)> = Vec::new();
        for (key, value) in pairs(uri, query)? {
            let Some(&key) = known.iter().find(|known| **known == key) else {
                return Err(StdioError::UnknownKey {
                    uri: uri.to_owned(),
                    key,
                });
            };
            let value = value.parse().map_err(|_| bad(key, "must be a number"))?;
            if given.iter().any(|(other, _)| *other == key) {
                return Err(bad(key, "is given twice"));
            }
            given.push((key, value));
        }
        let get = |key| {
            given
                .iter()
                .find(|(other, _)| *other == key)
                .map(|(_, value)| *value)
        };
        let max_line = match get("max-line") {
            None => Some(DEFAULT_MAX_LINE),
            // As containerd has it: a limit that is not positive is none.
            Some(value) => usize::try_from(value).ok().and_then(NonZeroUsize::new),
        };
        let max_size = get("max-size").map(|value| {
            let size = u64::try_from(value).ok().and_then(NonZeroU64::new);
            size.ok_or_else(|| bad("max-size", "must be at least 1"))
        });
        let max_files = get("max-files").map(|value| {
            let count = u32::try_from(value).ok().and_then(NonZeroU32::new);
            count.ok_or_else(|| bad("max-files", "must be at least 1"))
        });
        let rotation = match (max_size.transpose()?, max_files.transpose()?) {
            (None, None) => None,
            (None, Some(_)) => return Err(bad("max-files", "needs max-size beside it")),
            (Some(max_size), max_files) => Some(Rotation {
                max_size,
                max_files: max_files.unwrap_or(DEFAULT_MAX_FILES),
            }),
        };
        Ok(Self { max_line, rotation })
    }
}

/// The keys and values of a query, in order; a key without a value has an empty one.
pub(super) fn pairs(uri: &str, query: &str) -> Result<Vec<(String, String)>, StdioError> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((
                decode(uri, key, Plus::Space)?,
                decode(uri, value, Plus::Space)?,
            ))
        })
        .collect()
}

/// A path without its escapes.
pub(super) fn decode_path(uri: &str, path: &str) -> Result<String, StdioError> {
    decode(uri, path, Plus::Literal)
}

/// What `+` stands for: itself in a path, a space in a query (RFC 3986; `application/x-www-form-urlencoded`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    Literal,
    Space,
}

fn decode(uri: &str, text: &str, plus: Plus) -> Result<String, StdioError> {
    let malformed = || StdioError::Malformed {
        uri: uri.to_owned(),
    };
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match (byte, plus) {
            (b'%', _) => {
                let high = bytes.next().and_then(hex_digit).ok_or_else(malformed)?;
                let low = bytes.next().and_then(hex_digit).ok_or_else(malformed)?;
                high << 4 | low
            }
            (b'+', Plus::Space) => b' ',
            (byte, _) => byte,
        });
    }
    if decoded.contains(&0) {
        return Err(malformed());
    }
    String::from_utf8(decoded).map_err(|_| malformed())
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
