//! The supervisor and its command line.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use outlive::cli;
use outlive::cli::args::{Cli, Command, Format, Global, ServeArgs};
use outlive::supervisor::daemon::{self, Options};
use outlive::supervisor::pod::sandbox_init;
use outlive::supervisor::recovery::dry_run;
use outlive::supervisor::remove_dir;
use outlive::supervisor::store::Layout;
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
    let Cli { global, command } = Cli::parse();
    match command {
        Command::Serve(args) => daemon::run(&options(global, args)),
        Command::Recover(args) => recover(global.output, &options(global, args.serve)),
        command => cli::run(&global, command),
    }
}

fn options(global: Global, args: ServeArgs) -> Options {
    Options {
        config: args.config,
        root: global.root,
        state: args.state,
        address: global.address,
    }
}

fn recover(format: Format, options: &Options) -> ExitCode {
    let format = match format {
        Format::Table => dry_run::Format::Table,
        Format::Json => dry_run::Format::Json,
    };
    let printed = options.load().map_err(Into::into).and_then(|config| {
        let layout = Layout::new(config.root, config.state);
        dry_run::run(&layout, format, &mut std::io::stdout().lock())
            .map_err(Box::<dyn std::error::Error>::from)
    });
    let Err(error) = printed else {
        return ExitCode::SUCCESS;
    };
    // Nobody is left to tell when this fails too.
    let text = outlive::types::error::chain(error.as_ref());
    drop(writeln!(std::io::stderr(), "outlive: {text}"));
    ExitCode::FAILURE
}
