//! The shim that containerd runs as `io.containerd.outlive.v2`.

use std::io::Write;
use std::process::ExitCode;

use outlive::shim::args::{Action, Args};
use outlive::shim::error::chain;
use outlive::shim::{delete, info, server, start};

fn main() -> ExitCode {
    match run() {
        Ok(reply) => match std::io::stdout().write_all(&reply) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            eprintln!("containerd-shim-outlive-v2: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let args = Args::parse(std::env::args().skip(1))?;
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
