//! Pax records (pax(1), "pax Extended Header"): what a tar header has no room for.

use super::members::TarError;

/// A key and its value.
pub(super) type Record = (Vec<u8>, Vec<u8>);

/// How extended attributes are called among pax records (star(5), which GNU tar, Go and libarchive follow).
pub(super) const XATTR: &[u8] = b"SCHILY.xattr.";

/// `-12.5` as seconds (rounded down) and nanoseconds.
pub(super) fn time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let nine: String = fraction
        .chars()
        .chain(std::iter::repeat('0'))
        .take(9)
        .collect();
    let nanoseconds: u32 = nine.parse().ok()?;
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

/// Takes pax records apart: `LENGTH KEY=VALUE\n`, the length being that of all of it. A value may have any bytes.
pub(super) fn records(mut bytes: &[u8]) -> Result<Vec<Record>, TarError> {
    const BAD: TarError = TarError::Field {
        field: "pax records",
    };
    let mut records = Vec::new();
    while !bytes.is_empty() && bytes[0] != 0 {
        let space = bytes.iter().position(|&byte| byte == b' ').ok_or(BAD)?;
        let length = std::str::from_utf8(&bytes[..space]).ok();
        let length: usize = length.and_then(|text| text.parse().ok()).ok_or(BAD)?;
        let record = bytes.get(space + 1..length).ok_or(BAD)?;
        let record = record.strip_suffix(b"\n").ok_or(BAD)?;
        let equals = record.iter().position(|&byte| byte == b'=').ok_or(BAD)?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        bytes = &bytes[length..];
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_records_may_hold_newlines_and_nul() {
        let bytes = b"30 SCHILY.xattr.user.a=1\n2\0\n34\n";
        let mut text = b"30 SCHILY.xattr.user.a=1\n2\0\n34\n".to_vec();
        assert_eq!(bytes.len(), 31);
        text[..2].copy_from_slice(b"31");
        assert_eq!(
            records(&text).unwrap(),
            [(b"SCHILY.xattr.user.a".to_vec(), b"1\n2\0\n34".to_vec())]
        );
        assert!(records(bytes).is_err());
        assert!(records(b"99999999999999999999 a=b\n").is_err());
        assert!(records(b"2 a=b\n").is_err());
    }

    #[test]
    fn times_have_fractions_and_may_be_before_1970() {
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"7"), Some((7, 0)));
        assert_eq!(time(b"7.1234567891"), Some((7, 123_456_789)));
        assert_eq!(time(b"x"), None);
    }
}
