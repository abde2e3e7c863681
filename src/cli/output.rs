//! Standard output: text and JSON, with errors instead of panics where nobody reads.

use std::io::{self, Write as _};

use serde::Serialize;

use super::args::Format;
use super::error::Error;
use super::table::Table;

/// Prints text as it is.
///
/// # Errors
/// [`Error::Output`].
pub fn text(text: &str) -> Result<(), Error> {
    bytes(text.as_bytes())
}

/// Prints bytes as they are.
///
/// # Errors
/// [`Error::Output`].
pub fn bytes(bytes: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(Error::Output)
}

/// Prints JSON over several lines.
///
/// # Errors
/// [`Error::Output`].
pub fn json(value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value);
    self::text(&(text.map_err(|error| Error::Output(error.into()))? + "\n"))
}

/// Prints JSON on one line.
///
/// # Errors
/// [`Error::Output`].
pub fn json_line(value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string(value);
    self::text(&(text.map_err(|error| Error::Output(error.into()))? + "\n"))
}

/// Prints rows: an array of objects, or a table.
///
/// # Errors
/// [`Error::Output`].
pub fn rows<T: Serialize>(
    format: Format,
    rows: &[T],
    table: impl FnOnce(&[T]) -> Table,
) -> Result<(), Error> {
    match format {
        Format::Json => json(&rows),
        Format::Table => text(&table(rows).to_string()),
    }
}

/// Prints ids, one a line.
///
/// # Errors
/// [`Error::Output`].
pub fn ids<'a>(ids: impl Iterator<Item = &'a str>) -> Result<(), Error> {
    text(&ids.map(|id| format!("{id}\n")).collect::<String>())
}
