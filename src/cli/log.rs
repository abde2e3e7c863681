//! Container logs, read from the files in which the shim writes them: records, lines, and the files' succession.
//!
//! Who reads needs no supervisor: the log goes on while it is away.

pub mod files;
pub mod lines;
pub mod reader;
pub mod record;

pub use lines::Line;
pub use reader::{Progress, Reader};
pub use record::Stream;
