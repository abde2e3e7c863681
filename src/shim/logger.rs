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
    let text = at.rfc3339();
    let millis = text.get(..23).unwrap_or_default();
    format!("{}Z", String::from_utf8_lossy(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

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
