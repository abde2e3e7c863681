//! The shim that containerd runs as `io.containerd.outlive.v2`.

use std::io::Write;
use std::process::ExitCode;

use outlive::shim::args::{Action, Args};
use outlive::shim::{delete, info, server, start};
use outlive::sys::umask;
use outlive::types::error::chain;

fn main() -> ExitCode {
    umask::fix();
    match run() {
        Ok(reply) => match std::io::stdout().write_all(&reply) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            // Whoever started this may have closed its end; there is nobody left to tell then.
            let message = format!("containerd-shim-outlive-v2: {}\n", chain(error.as_ref()));
            drop(std::io::stderr().write_all(message.as_bytes()));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let words = std::env::args_os().skip(1).map(|word| {
        word.into_string()
            .map_err(|word| format!("argument {word:?} is not UTF-8"))
    });
    let args = Args::parse(words.collect::<Result<Vec<_>, _>>()?)?;
    Ok(match args.action {
        Action::Version => format!(
            "containerd-shim-outlive-v2:\n  Version:  {}\n",
            env!("CARGO_PKG_VERSION")
        )
        .into_bytes(),
        Action::Info => info::run()?,
        Action::Start => start::run(&args)?,
        Action::Delete => delete::run(&args)?,
        Action::Serve => {
            server::run(&args)?;
            Vec::new()
        }
    })
}
