//! The shim's own log: to the fifo `log` in its bundle, which containerd copies into its own.
//!
//! The fifo is opened for reading as well, and without blocking: an open would wait for a reader otherwise, and a write
//! would freeze the shim when containerd is dead and the fifo full. A line that does not fit is dropped; the next one
//! that does fit tells how many were. A panic goes there too, with its backtrace, before the shim aborts.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::types::Timestamp;

struct FifoLog {
    fifo: File,
    dropped: AtomicU64,
    /// Whether the last line went in part only.
    torn: AtomicBool,
}

static LOG: OnceLock<FifoLog> = OnceLock::new();

/// Sends the log to `bundle/log` and panics into the log. Without a fifo there, the log goes nowhere.
///
/// # Errors
/// What open(2) answered; `InvalidInput` where the file is no fifo.
pub fn init(bundle: &Path, level: LevelFilter) -> io::Result<()> {
    // Forced: nobody sets RUST_BACKTRACE for a shim. The long form has the addresses, which is all that a stripped
    // program knows; they mean something with the place that it was loaded at.
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::force_capture();
        log::error!(
            "panic: {panic}\nloaded at {}\n{backtrace:#}",
            load_address()
        );
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
    let log = LOG.get_or_init(|| FifoLog::to(fifo));
    if log::set_logger(log).is_ok() {
        log::set_max_level(level);
    }
    Ok(())
}

/// Writes a line of its own into the log, as it is, whatever the level.
pub fn write_line(line: &str) {
    if let Some(log) = LOG.get() {
        log.put(&format!("{line}\n"));
    }
}

/// How many lines were dropped since the last one that said so.
#[must_use]
pub fn dropped() -> u64 {
    LOG.get()
        .map_or(0, |log| log.dropped.load(Ordering::Relaxed))
}

/// Where the program begins in memory (proc(5), `/proc/PID/maps`).
fn load_address() -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.split('-').next().unwrap_or_default().to_owned()
}

impl FifoLog {
    const fn to(fifo: File) -> Self {
        Self {
            fifo,
            dropped: AtomicU64::new(0),
            torn: AtomicBool::new(false),
        }
    }

    /// Writes a line, and before it how many were dropped.
    fn put(&self, text: &str) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let told = line(
                Level::Warn,
                &format!("{dropped} log lines were dropped"),
                None,
            );
            if !self.write(&told) {
                // Of what was dropped, this line is none.
                self.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
                return;
            }
        }
        if !self.write(text) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes a line if it fits. Up to PIPE_BUF bytes are written whole or not at all, more perhaps in part (pipe(7)).
    fn write(&self, line: &str) -> bool {
        let text = if self.torn.load(Ordering::Relaxed) {
            format!("\n{line}")
        } else {
            line.to_owned()
        };
        match (&self.fifo).write(text.as_bytes()) {
            Ok(written) => {
                let is_whole = written == text.len();
                self.torn.store(!is_whole, Ordering::Relaxed);
                is_whole
            }
            Err(_) => false,
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
        self.put(&line(
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
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    let text = at.rfc3339();
    let millis = text.get(..23).unwrap_or_default();
    format!("{}Z", String::from_utf8_lossy(millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::process::ExitStatusExt;
    use std::path::PathBuf;

    /// A directory with a fifo `log`, and its reading end.
    fn fifo(name: &str) -> (PathBuf, File) {
        let dir = std::env::temp_dir().join(format!("outlive-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("log");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut options = OpenOptions::new();
        let end = options
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK);
        (dir, end.open(path).unwrap())
    }

    fn text_in(mut fifo: &File) -> String {
        let mut text = Vec::new();
        // Ends with EAGAIN, since this end can write as well.
        fifo.read_to_end(&mut text).unwrap_err();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_full_fifo_takes_nothing_and_afterwards_says_how_much_that_was() {
        let (dir, reader) = fifo("full");
        let log = FifoLog::to(reader.try_clone().unwrap());
        let long = "x".repeat(3000) + "\n";
        for _ in 0..100 {
            log.put(&long);
        }
        let filled = text_in(&reader);
        log.put("the next\n");
        let after = text_in(&reader);
        assert!(filled.len() <= 1 << 16 && after.ends_with("\nthe next\n"));
        let all = filled + &after;
        let whole = all.lines().filter(|line| line.len() == 3000).count();
        let told: Vec<usize> = all.lines().filter_map(told_as_dropped).collect();
        assert_eq!(
            whole + told.iter().sum::<usize>(),
            100,
            "{whole} lines, {told:?}"
        );
        std::fs::remove_dir_all(dir).unwrap();
    }

    fn told_as_dropped(line: &str) -> Option<usize> {
        line.split_once("msg=\"")?.1.split(' ').next()?.parse().ok()
    }

    #[test]
    fn a_line_longer_than_the_fifo_does_not_spoil_the_one_after() {
        let (dir, reader) = fifo("torn");
        let log = FifoLog::to(reader.try_clone().unwrap());
        log.put(&("y".repeat(100_000) + "\n"));
        assert!(!text_in(&reader).contains('\n'));
        log.put("the next\n");
        let after = text_in(&reader);
        assert!(
            after.starts_with('\n') && after.ends_with("\nthe next\n"),
            "{after}"
        );
        assert!(after.contains("1 log lines were dropped"), "{after}");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_panic_and_its_backtrace_are_in_the_log() {
        let (dir, reader) = fifo("panic");
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "shim::logger::tests::panic_in_a_child",
                "--ignored",
            ])
            .env("OUTLIVE_TEST_BUNDLE", &dir)
            .output()
            .unwrap();
        assert_eq!(child.status.signal(), Some(libc::SIGABRT), "{child:?}");
        let text = text_in(&reader);
        let line = text.lines().find(|line| line.contains("panic: "));
        let line = line.unwrap_or_else(|| panic!("no panic in {text:?}"));
        for word in ["level=error", "seeded", "loaded at ", "panic_in_a_child"] {
            assert!(line.contains(word), "no {word:?} in {line}");
        }
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    #[ignore = "run by a_panic_and_its_backtrace_are_in_the_log, in a process of its own"]
    fn panic_in_a_child() {
        let Some(bundle) = std::env::var_os("OUTLIVE_TEST_BUNDLE") else {
            return;
        };
        init(Path::new(&bundle), LevelFilter::Info).unwrap();
        // As in a release build, where a panic aborts.
        if std::panic::catch_unwind(|| panic!("seeded")).is_err() {
            std::process::abort();
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
