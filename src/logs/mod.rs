//! What a container writes, on its way from a pipe or a terminal to where it was asked for.
//!
//! ```text
//! pipe ----- splice ----> fifo of the manager        no copy, no buffer; through a spool while it is away
//! pipe ----- copy ------> file                       one buffer a thread, freed when it rests
//! pipe ----- copy ------> CRI records -> file         another, and what is held of an unfinished line
//! terminal - copy ------> fifo, pipe of a logger, file
//! fifo ----- splice/copy> pipe of stdin, terminal
//! ```
//!
//! A file is a [`mod@log`]: [`cri`] makes records, [`mod@file`] sees to it that each is whole, [`rotate`] renames. Nothing here
//! knows of tasks or requests: the shim's stdio says what is connected to what, and runs one [`pump::run`] for each
//! stream, or a [`FifoPump`].

pub mod attendance;
mod buffer;
pub mod cri;
pub mod fifo;
pub mod file;
pub mod flow;
pub mod log;
pub mod loss;
pub mod pump;
pub mod rotate;
pub mod sink;
pub mod source;
pub mod spool;

pub use attendance::{Attendance, Outage, Phase};
pub use cri::LogStream;
pub use fifo::{FifoPump, SpoolPlace};
pub use flow::{Flow, Moved};
pub use log::{Log, LogWriter, Reopening};
pub use pump::End;
pub use sink::Sink;
pub use source::Source;
