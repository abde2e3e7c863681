//! The harness' report, over examples made by hand: what is counted, drawn, left out and escaped. Needs no root and kills
//! nothing.

#[path = "../history.rs"]
mod history;
#[path = "../report/mod.rs"]
mod report;
#[expect(dead_code, reason = "a report has states, and drives nothing")]
#[path = "../target.rs"]
mod target;

mod drawing;
mod example;
mod page;
mod sums;
mod terminal;
