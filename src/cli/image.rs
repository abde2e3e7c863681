//! `outlive image`.

use clap::{Args, Subcommand};

use super::args::Global;
use super::error::Error;

/// `image`.
#[derive(Debug, Args)]
pub struct ImageArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ImageCommand,
}

/// What is done with images.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// List the images
    Ls,
}

/// Does one command on images.
pub async fn run(_global: &Global, args: ImageArgs) -> Result<(), Error> {
    match args.command {
        ImageCommand::Ls => Err(Error::Unsupported("image ls".to_owned())),
    }
}
