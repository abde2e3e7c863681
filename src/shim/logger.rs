//! The shim's own log: to the fifo `log` in its bundle, which containerd copies into its own.
//!
//! The fifo is opened for reading as well, and without blocking: an open would wait for a reader otherwise, and a write
//! would freeze the shim when containerd is dead and the fifo full. A line that does not fit is dropped; the next one
//! that does fit tells how many were.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::types::Timestamp;

struct FifoLog {
    fifo: File,
    dropped: AtomicU64,
}

/// Sends the log to `bundle/log` and panics into the log. Without a fifo there, the log goes nowhere.
///
/// # Errors
/// What open(2) answered; `InvalidInput` where the file is no fifo.
pub fn init(bundle: &Path, level: LevelFilter) -> io::Result<()> {
    std::panic::set_hook(Box::new(|panic| {
        log::error!("panic: {panic}\n{}", std::backtrace::Backtrace::capture())
    }));
    let path = crate::bundle::layout::Bundle::new(bundle).log();
    let fifo = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if !fifo.metadata()?.file_type().is_fifo() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let logger = Box::leak(Box::new(FifoLog {
        fifo,
        dropped: AtomicU64::new(0),
    }));
    if log::set_logger(logger).is_ok() {
        log::set_max_level(level);
    }
    Ok(())
}

impl FifoLog {
    fn write(&self, line: &str) {
        // Up to PIPE_BUF bytes are written whole or not at all (pipe(7)).
        if (&self.fifo).write(line.as_bytes()).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Log for FifoLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries tell about connections that come and go; that is not worth a line.
        metadata.level() <= Level::Warn || metadata.target().starts_with("outlive")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            self.write(&line(
                Level::Warn,
                &format!("{dropped} log lines were dropped"),
                None,
            ));
        }
        self.write(&line(
            record.level(),
            &record.args().to_string(),
            Some(record),
        ));
    }

    fn flush(&self) {}
}

/// One line in the form of containerd's own log (logrus text).
fn line(level: Level, message: &str, record: Option<&Record<'_>>) -> String {
    let level = match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let mut fields = Fields(format!(
        "time={:?} level={level} msg={message:?}",
        rfc3339(Timestamp::now())
    ));
    if let Some(record) = record {
        // Writing to a string cannot fail.
        drop(record.key_values().visit(&mut fields));
    }
    fields.0.push('\n');
    fields.0
}

struct Fields(String);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        write!(self.0, " {key}={value}").map_err(Error::from)
    }
}

/// RFC 3339 in UTC, to the millisecond.
fn rfc3339(at: Timestamp) -> String {
    let (days, second) = (
        at.seconds().div_euclid(86_400),
        at.seconds().rem_euclid(86_400),
    );
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let milli = at.subsec_nanos() / 1_000_000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// The date that is `days` after 1970-01-01, in the proleptic Gregorian calendar: years are counted from a March, so
/// that the leap day ends them.
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day_of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_735_689_600, "2025-01-01T00:00:00.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(
                rfc3339(Timestamp::from_unix_nanos(seconds * 1_000_000_000)),
                text
            );
        }
    }

    #[test]
    fn a_message_stays_on_one_line() {
        let line = line(Level::Warn, "a \"b\"\nc", None);
        assert!(
            line.ends_with("level=warning msg=\"a \\\"b\\\"\\nc\"\n"),
            "{line}"
        );
        assert_eq!(line.matches('\n').count(), 1);
    }
}
