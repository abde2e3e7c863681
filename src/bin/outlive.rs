//! The supervisor and its command line.

use std::process::ExitCode;

use outlive::cli::args::{self, Cli, Command, Format, Global, ServeArgs};
use outlive::cli::{self, served};
use outlive::supervisor::daemon::{self, Options};
use outlive::supervisor::pod::sandbox_init;
use outlive::supervisor::store::Layout;
use outlive::supervisor::{recovery::dry_run, remove_dir};
use outlive::sys::umask;

fn main() -> ExitCode {
    umask::fix();
    // Looked for before anything else: these want none of what the others set up.
    let mut words = std::env::args_os().skip(1);
    let word = words.next().unwrap_or_default();
    if word == sandbox_init::SUBCOMMAND {
        return sandbox_init::run();
    }
    if word == remove_dir::SUBCOMMAND {
        return remove_dir::run(&words.next().unwrap_or_default());
    }
    args::parse().map_or_else(|code| code, run)
}

fn run(Cli { global, command }: Cli) -> ExitCode {
    match command {
        Command::Serve(args) => daemon::run(&options(&global, args)),
        Command::Recover(args) => cli::report(recover(global, args.serve)),
        command => cli::run(&global, command),
    }
}

fn options(global: &Global, args: ServeArgs) -> Options {
    Options {
        config: args.config,
        root: global.root.clone(),
        state: args.state,
        address: global.address.clone(),
        givers: global.givers,
    }
}

fn recover(mut global: Global, args: ServeArgs) -> Result<(), Box<dyn std::error::Error>> {
    let format = match global.output {
        Format::Table => dry_run::Format::Table,
        Format::Json => dry_run::Format::Json,
    };
    let state = args.state.clone();
    let config = options(&global, args).load()?;
    global.address = Some(format!("unix://{}", config.socket.display()));
    let configured = (config.root, config.state);
    let (root, state) = served::directories(&global, state.as_deref(), configured)?;
    let mut out = std::io::stdout().lock();
    Ok(dry_run::run(&Layout::new(root, state), format, &mut out)?)
}
