//! The supervisor and its command line.

use std::process::ExitCode;

use clap::Parser as _;
use outlive::cli::args::Cli;

fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    outlive::cli::run(&global, command)
}
