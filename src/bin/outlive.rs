//! The supervisor and its command line.

use std::process::ExitCode;

use outlive::supervisor::daemon::{self, Options};
use outlive::supervisor::pod::sandbox_init;

fn main() -> ExitCode {
    // Looked for before anything else: the first process of a pid namespace wants none of what the others set up.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == sandbox_init::SUBCOMMAND)
    {
        return sandbox_init::run();
    }
    let mut options = Options::default();
    let mut words = std::env::args().skip(2);
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        match key.as_str() {
            "--config" => options.config = Some(value.into()),
            "--root" => options.root = Some(value.into()),
            "--state" => options.state = Some(value.into()),
            _ => options.address = Some(value),
        }
    }
    daemon::run(&options)
}
