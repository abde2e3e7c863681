//! What a container writes, on its way from a pipe or a terminal to where it was asked for.
//!
//! ```text
//! pipe ----- splice ----> fifo of the manager        no copy, no buffer; through a spool while it is away
//! pipe ----- copy ------> file                       one buffer a thread, never kept between two reads
//! terminal - copy ------> fifo, pipe of a logger, file
//! fifo ----- splice/copy> pipe of stdin, terminal
//! ```
//!
//! A further way to write (the CRI format) is a further [`sink::Sink`]. Nothing here knows of tasks or requests: the
//! shim's stdio says what is connected to what, and runs one [`pump::run`] for each stream, or a [`FifoPump`].

pub mod attendance;
mod buffer;
pub mod fifo;
pub mod flow;
pub mod pump;
pub mod sink;
pub mod source;
pub mod spool;

pub use attendance::{Attendance, Outage, Phase};
pub use fifo::{FifoPump, SpoolPlace};
pub use flow::{Flow, Moved};
pub use pump::End;
pub use sink::{AppendFile, Sink};
pub use source::Source;
