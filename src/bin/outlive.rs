//! The supervisor and its command line.
fn main() {}
