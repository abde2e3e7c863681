//! Times and durations as people write and read them. Pure.

use std::time::Duration;

use crate::types::Timestamp;

const NANOS: u64 = 1_000_000_000;
/// Digits of the Unix times since 2001. As many seconds ago is before there were containers.
const UNIX_DIGITS: usize = 10;

/// A point in time, or how long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Then.
    At(Timestamp),
    /// So long before now.
    Ago(Duration),
}

impl Since {
    /// RFC 3339, a date, seconds since the epoch (with `@`, or at least ten digits), or a duration.
    ///
    /// # Errors
    /// What it should be.
    pub fn parse(text: &str) -> Result<Self, String> {
        // docker-logs(1) takes Unix times as they are. A shorter number is seconds ago.
        let is_unix = text.len() >= UNIX_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(seconds) = text.strip_prefix('@').or(is_unix.then_some(text))
            && let Some(nanos) = seconds
                .parse::<u64>()
                .ok()
                .and_then(|s| s.checked_mul(NANOS))
        {
            return Ok(Self::At(Timestamp::from_unix_nanos(nanos)));
        }
        if let Some(at) = rfc3339(text).or_else(|| rfc3339(&format!("{text}T00:00:00Z"))) {
            return Ok(Self::At(at));
        }
        duration(text).map(Self::Ago).map_err(|_| {
            format!("{text:?} is no time: 10m, 2024-02-29T12:00:00Z, 2024-02-29, @SECONDS")
        })
    }

    /// The point in time.
    #[must_use]
    pub fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => {
                let ago = u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX);
                Timestamp::from_unix_nanos(now.unix_nanos().saturating_sub(ago))
            }
        }
    }
}

/// `1h30m`, `90s`, `500ms`, or seconds without a unit.
///
/// # Errors
/// What it should be.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: 30s, 1h30m, 500ms");
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let part = number.checked_mul(millis).ok_or_else(wrong)?;
        total = total
            .checked_add(Duration::from_millis(part))
            .ok_or_else(wrong)?;
        rest = tail;
    }
    if text.is_empty() {
        Err(wrong())
    } else {
        Ok(total)
    }
}

/// RFC 3339 with any number of digits after the second and any offset; `None` where it is not, or before 1970.
pub fn rfc3339(text: &str) -> Option<Timestamp> {
    let digits = |range: std::ops::Range<usize>| -> Option<i64> {
        let field = text.get(range)?;
        let is_number = field.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| field.parse().ok())?
    };
    let is = |at: usize, allowed: &[u8]| {
        text.as_bytes()
            .get(at)
            .is_some_and(|byte| allowed.contains(byte))
    };
    let separated = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
    if !separated {
        return None;
    }
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    let (hour, minute, second) = (digits(11..13)?, digits(14..16)?, digits(17..19)?);
    let in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !in_range {
        return None;
    }
    let rest = text.get(19..)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
        None => ("", rest),
    };
    let nanos: u64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let offset = offset_seconds(zone)?;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    let seconds = u64::try_from(seconds).ok()?;
    let total = seconds.checked_mul(NANOS)?.checked_add(nanos)?;
    Some(Timestamp::from_unix_nanos(total))
}

fn offset_seconds(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    Some(sign * (hours * 3600 + minutes * 60))
}

/// The days from 1970-01-01 to a date of the Gregorian calendar: years counted from a March, so that leap days end them.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let year = if month > 2 { year } else { year - 1 };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// CRI's nanoseconds since the epoch, where zero and less mean never.
pub fn from_cri(nanos: i64) -> Option<Timestamp> {
    u64::try_from(nanos)
        .ok()
        .filter(|&nanos| nanos > 0)
        .map(Timestamp::from_unix_nanos)
}

/// RFC 3339 as text.
pub fn text(at: Timestamp) -> String {
    String::from_utf8_lossy(&at.rfc3339()).into_owned()
}

/// `3 minutes`, rounded down.
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (count, unit) = match seconds {
        0 => return "less than a second".to_owned(),
        1..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        86_400..1_209_600 => (seconds / 86_400, "day"),
        1_209_600..5_184_000 => (seconds / 604_800, "week"),
        5_184_000..63_072_000 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

/// `3 minutes ago`.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", human(between(at, now)))
}

/// From `at` to `now`; zero where a clock was set back.
pub fn between(at: Timestamp, now: Timestamp) -> Duration {
    Duration::from_nanos(now.unix_nanos().saturating_sub(at.unix_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_back_as_it_was_written() {
        for nanos in [
            7,
            951_782_399 * NANOS,
            951_782_400 * NANOS + 1,
            4_107_542_400 * NANOS,
        ] {
            let at = Timestamp::from_unix_nanos(nanos);
            assert_eq!(rfc3339(&text(at)), Some(at));
        }
    }

    #[test]
    fn offsets_and_short_fractions_are_read() {
        let noon = rfc3339("2024-02-29T12:00:00Z").unwrap();
        for same in [
            "2024-02-29T14:00:00+02:00",
            "2024-02-29T07:30:00.0-04:30",
            "2024-02-29t12:00:00.000z",
        ] {
            assert_eq!(rfc3339(same), Some(noon), "{same}");
        }
        let later = rfc3339("2024-02-29T12:00:00.5Z").unwrap();
        assert_eq!(later.unix_nanos() - noon.unix_nanos(), NANOS / 2);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2024",
            "2024-02-29T12:00:00",
            "2024-13-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2024-02-29T25:00:00Z",
            "2024-02-29T12:00:00+2",
            "2024-02-29T12:00:00.Z5",
            "ä024-02-29T12:00:00Z",
        ] {
            assert_eq!(rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn since_takes_times_dates_and_durations() {
        let now = rfc3339("2024-02-29T12:00:00Z").unwrap();
        for (text, expected) in [
            ("10m", "2024-02-29T11:50:00Z"),
            ("90", "2024-02-29T11:58:30Z"),
            ("2024-02-28", "2024-02-28T00:00:00Z"),
            ("2024-02-29T11:00:00+01:00", "2024-02-29T10:00:00Z"),
            ("@1709200800", "2024-02-29T10:00:00Z"),
            ("1709200800", "2024-02-29T10:00:00Z"),
        ] {
            let since = Since::parse(text).map(|since| since.from(now));
            assert_eq!(since.ok(), rfc3339(expected), "{text}");
        }
        assert!(Since::parse("yesterday").is_err());
        assert!(Since::parse("@x").is_err());
    }

    #[test]
    fn durations_add_their_parts() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5"), Ok(Duration::from_secs(5)));
        for text in ["", "s", "1x", "1h30", "-1s", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ages_are_said_in_one_unit() {
        for (seconds, expected) in [
            (0, "less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (7200, "2 hours"),
            (86_400 * 13, "13 days"),
            (86_400 * 14, "2 weeks"),
            (86_400 * 100, "3 months"),
            (86_400 * 800, "2 years"),
        ] {
            assert_eq!(human(Duration::from_secs(seconds)), expected);
        }
    }
}
