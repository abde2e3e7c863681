//! The command line: a CRI client of `outlive serve`, and of any other CRI v1 server on a unix socket.
//!
//! It keeps nothing: what it shows it asked for, and container logs it reads where the status says they are. Only
//! `image` works on a directory, the supervisor's image store: `served` asks where that is.
//!
//! ```text
//! args (clap) --> one file a command --> client (deadlines, errors) --> socket
//!                     `--> table, log, time: how it is shown
//! ```

pub mod args;
mod client;
mod completions;
mod containers;
mod error;
mod events;
mod exec;
mod image;
mod inspect;
mod json;
mod lifecycle;
pub mod log;
mod logs;
mod output;
mod pods;
mod pull;
mod quantity;
mod resolve;
mod run;
pub mod served;
mod stats;
mod table;
pub mod time;
mod version;
mod watch;

use std::process::ExitCode;

use args::{Command, Global, PodCommand};
pub use error::Error;
use image::ImageCommand;

/// Does one command; its exit code is one of the table in `outlive --help`.
///
/// `serve` and `recover` are not the command line's own: who calls this has taken them out.
#[must_use]
pub fn run(global: &Global, command: Command) -> ExitCode {
    let of_program = matches!(command, Command::Run(_) | Command::Exec(_));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(dispatch(global, command));
            // A blocked read of a thread of the runtime's must not hold up the end.
            runtime.shutdown_background();
            done
        }
        Err(source) => Err(Error::Io {
            operation: "start the asynchronous runtime".to_owned(),
            source,
        }),
    };
    match done {
        Ok(code) => code,
        // Whoever read the output has seen enough.
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            error::tell(&error);
            let code = if of_program {
                error.exit_code_beside_a_program()
            } else {
                error.exit_code()
            };
            ExitCode::from(code)
        }
    }
}

/// The exit code of a command that is not the command line's own, which tells its error first.
#[must_use]
pub fn report(done: Result<(), Box<dyn std::error::Error>>) -> ExitCode {
    let Err(error) = done else {
        return ExitCode::SUCCESS;
    };
    error::warn(&crate::types::error::chain(error.as_ref()));
    let code = error.downcast_ref::<Error>().map_or(1, Error::exit_code);
    ExitCode::from(code)
}

async fn dispatch(global: &Global, command: Command) -> Result<ExitCode, Error> {
    match command {
        Command::Run(args) => run::run(global, args).await,
        Command::Exec(args) => exec::run(global, args).await,
        Command::Ps(args) => containers::list(global, &args).await.map(success),
        Command::Pods(args) => match args.command {
            None => pods::list(global, &args.list).await.map(success),
            Some(PodCommand::Stop { pods }) => lifecycle::stop_pods(global, &pods).await,
            Some(PodCommand::Rm { force, pods }) => {
                lifecycle::remove_pods(global, &pods, force.into()).await
            }
        },
        Command::Inspect(args) => inspect::run(global, &args).await.map(success),
        Command::Logs(args) => logs::run(global, &args).await.map(success),
        Command::Stop(args) => lifecycle::stop(global, &args).await,
        Command::Kill(args) => lifecycle::kill(global, &args).await,
        Command::Rm(args) => lifecycle::remove(global, &args).await,
        Command::Stats(args) => stats::run(global, &args).await.map(success),
        Command::Events => events::run(global).await.map(success),
        Command::Pull { image } => pull::run(global, &image).await.map(success),
        Command::Image(args) => image::run(global, args.command).await,
        Command::Images(args) => image::run(global, ImageCommand::Ls(args)).await,
        Command::Load(args) => image::run(global, ImageCommand::Load(args)).await,
        Command::Rmi(args) => image::run(global, ImageCommand::Rm(args)).await,
        Command::Version => version::run(global).await.map(success),
        Command::Completions { shell } => completions::print(shell).map(success),
        Command::Serve(_) | Command::Recover(_) => Err(Error::Usage(
            "this is the supervisor's, not the command line's".to_owned(),
        )),
    }
}

fn success((): ()) -> ExitCode {
    ExitCode::SUCCESS
}
