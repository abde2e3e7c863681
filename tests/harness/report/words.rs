//! Foreign text, numbers, times and dates as the report writes them.

use outlive::types::time::Timestamp;

#[path = "../../support/text.rs"]
mod text;

pub use text::{escape, plain, shortened};

/// At most so many characters, and how many more there were.
pub fn clipped(text: &str, limit: usize) -> String {
    let count = text.chars().count();
    if count <= limit {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit).collect();
    format!("{kept}… ({} characters more)", thousands(count - limit))
}

/// A count with its thousands set apart: `12,345`.
pub fn thousands(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun: `1 kill`, `2 kills`.
pub fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(count))
}

/// A point in time to the second, in UTC; zero and what is before it were never set.
pub fn date(nanos: i64) -> String {
    match u64::try_from(nanos) {
        Ok(nanos) if nanos > 0 => {
            let text = Timestamp::from_unix_nanos(nanos).rfc3339();
            let text = String::from_utf8_lossy(&text);
            format!("{} UTC", text[..19].replace('T', " "))
        }
        Ok(_) | Err(_) => "not recorded".to_owned(),
    }
}

/// A length of time: `850 µs`, `12.3 ms`, `4.21 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let seconds = nanos / 1_000_000_000;
    let text = match seconds {
        0..120 => milliseconds(std::time::Duration::from_nanos(nanos).as_secs_f64() * 1e3),
        120..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600.. => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    };
    format!("{sign}{text}")
}

/// Milliseconds in the unit that fits, with three digits that count.
pub fn milliseconds(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 1e3 => (value / 1e3, "s"),
        value if value >= 1.0 || value <= 0.0 => (value, "ms"),
        value => (value * 1e3, "µs"),
    };
    let decimals = match value {
        value if value >= 100.0 || value == 0.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$} {unit}")
}
