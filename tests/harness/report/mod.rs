//! The report of a call of the harness: `report.json` for programs, `report.html` for people, and a text for the
//! terminal. Owns how a [`Report`] is shown; what is in it was decided by who filled it, and nothing is judged here but
//! whether any judged target lost an invariant.
//!
//! ```text
//! history::Report --> totals (sums, verdict) --> text                                      terminal
//!                 |                          `-> page --> head, table, violations,         report.html
//!                 |                                       histogram, runs --> timeline
//!                 `----------------------------------------------------------------------> report.json
//! ```

pub mod head;
pub mod histogram;
pub mod invariants;
pub mod lane;
pub mod page;
pub mod runs;
pub mod scale;
pub mod table;
pub mod text;
pub mod timeline;
pub mod totals;
pub mod violations;
pub mod words;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use crate::history::Report;

pub use text::summary;

/// Writes `report.json` and `report.html` to `dir`, which is made where it is missing. What was there of an earlier
/// report is replaced.
pub fn write(report: &Report, dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut json = BufWriter::new(File::create(dir.join("report.json"))?);
    serde_json::to_writer(&mut json, report)?;
    json.write_all(b"\n")?;
    json.flush()?;
    fs::write(dir.join("report.html"), page::html(report))
}
