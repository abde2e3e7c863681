//! The supervisor and its command line.

use std::process::ExitCode;

use clap::Parser as _;
use outlive::cli::args::Cli;
use outlive::supervisor::pod::sandbox_init;

fn main() -> ExitCode {
    // Looked for before anything else: the first process of a pid namespace wants none of what the others set up.
    if std::env::args_os().nth(1).is_some_and(|word| word == sandbox_init::SUBCOMMAND) {
        return sandbox_init::run();
    }
    let Cli { global, command } = Cli::parse();
    outlive::cli::run(&global, command)
}
