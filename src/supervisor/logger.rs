//! The supervisor's own log: one line an event, to stderr.
//!
//! ```text
//! text    2026-01-31T12:00:00.123Z INFO container started container=4f2a.. pid=4242
//! json    {"time":"2026-01-31T12:00:00.123Z","level":"info","message":"container started","container":"4f2a..","pid":4242}
//! ```
//!
//! A line is one write(2), so that lines of two threads do not mix. What cannot be written is dropped: the log must not
//! end who logs.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::config::supervisor::{LogFormat, LogSettings};
use crate::types::Timestamp;

struct Stderr;

static LOGGER: Stderr = Stderr;
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Sends the log to stderr, and panics into the log: as text and from Info on until [`configure`] says otherwise.
pub fn init() {
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(LevelFilter::Info);
        std::panic::set_hook(Box::new(|panic| {
            let backtrace = std::backtrace::Backtrace::capture();
            log::error!(backtrace:% = backtrace; "panic: {panic}");
        }));
    }
}

/// Logs as the settings say from now on.
pub fn configure(settings: LogSettings) {
    IS_JSON.store(settings.format == LogFormat::Json, Ordering::Relaxed);
    log::set_max_level(settings.level);
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries tell about connections that come and go; that is not worth a line.
        metadata.level() <= Level::Warn || metadata.target().starts_with("outlive")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let format = if IS_JSON.load(Ordering::Relaxed) {
            LogFormat::Json
        } else {
            LogFormat::Text
        };
        let line = line(format, Timestamp::now(), record);
        drop(std::io::stderr().lock().write_all(line.as_bytes()));
    }

    fn flush(&self) {}
}

fn line(format: LogFormat, now: Timestamp, record: &Record<'_>) -> String {
    let time = now.rfc3339();
    let millis = time.get(..23).unwrap_or_default();
    let time = format!("{}Z", String::from_utf8_lossy(millis));
    let message = record.args().to_string();
    let mut line = match format {
        LogFormat::Text => text(&time, &message, record),
        LogFormat::Json => json(&time, &message, record),
    };
    line.push('\n');
    line
}

fn text(time: &str, message: &str, record: &Record<'_>) -> String {
    let mut fields = TextFields(format!("{time} {} {}", record.level(), one_line(message)));
    // Writing to a string cannot fail.
    drop(record.key_values().visit(&mut fields));
    fields.0
}

/// `text` with its control characters escaped: a line of the log is one line.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

struct TextFields(String);

impl<'kvs> VisitSource<'kvs> for TextFields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let value = value.to_string();
        let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && c != '"' && c != '=';
        self.0.push(' ');
        self.0.push_str(key.as_str());
        self.0.push('=');
        if !value.is_empty() && value.chars().all(is_plain) {
            self.0.push_str(&value);
        } else {
            self.0.push_str(&format!("{value:?}"));
        }
        Ok(())
    }
}

fn json(time: &str, message: &str, record: &Record<'_>) -> String {
    let mut fields = JsonFields(serde_json::Map::new());
    let level = record.level().as_str().to_ascii_lowercase();
    fields.0.insert("time".into(), time.into());
    fields.0.insert("level".into(), level.into());
    fields.0.insert("message".into(), message.into());
    drop(record.key_values().visit(&mut fields));
    serde_json::Value::Object(fields.0).to_string()
}

struct JsonFields(serde_json::Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for JsonFields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let number = value.to_u64().map(serde_json::Value::from);
        let number = number.or_else(|| value.to_i64().map(Into::into));
        let value = number
            .or_else(|| value.to_bool().map(Into::into))
            .unwrap_or_else(|| value.to_string().into());
        self.0.insert(key.to_string(), value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: LogFormat) -> String {
        let pairs: &[(&str, Value<'_>)] = &[
            ("container", Value::from("4f2a")),
            ("pid", Value::from(42_u32)),
            ("error", Value::from("no \"file\"\nhere")),
        ];
        let record = Record::builder()
            .args(format_args!("it\nfailed"))
            .level(Level::Warn)
            .key_values(&pairs)
            .build();
        line(format, Timestamp::from_unix_nanos(1_500_000_000), &record)
    }

    #[test]
    fn a_text_line_is_one_line_whatever_is_said() {
        assert_eq!(
            written(LogFormat::Text),
            "1970-01-01T00:00:01.500Z WARN it\\nfailed container=4f2a pid=42 error=\"no \\\"file\\\"\\nhere\"\n"
        );
    }

    #[test]
    fn a_json_line_is_an_object_with_numbers_as_numbers() {
        let line = written(LogFormat::Json);
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["time"], "1970-01-01T00:00:01.500Z");
        assert_eq!(value["level"], "warn");
        assert_eq!(value["message"], "it\nfailed");
        assert_eq!(value["pid"], 42);
        assert_eq!(value["error"], "no \"file\"\nhere");
    }
}
