//! `outlive image`: the local image store.
//!
//! `load` and `import` work on the store's files, so that nothing is decompressed in the supervisor; `ls` reads them.
//! `rm` asks the supervisor, who knows which layers containers still use.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::args::Global;
use super::client::Client;
use super::error::Error;
use super::output;
use super::quantity::human_bytes;
use super::table::{Table, short};
use crate::api::cri;
use crate::images::{ImageError, ImageStore, LoadedImage};
use crate::types::error::chain;

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
    /// Load the images of an OCI layout or archive, or of a `docker save` archive
    Load {
        /// A directory or a tar file, which may be compressed (gzip, zstd)
        archive: PathBuf,
        /// The name for the one image in it
        #[arg(long)]
        name: Option<String>,
    },
    /// Make an image of one layer of a directory
    Import {
        /// The root filesystem
        rootfs: PathBuf,
        /// Its name
        name: String,
    },
    /// List the images
    Ls {
        /// Print ids only
        #[arg(short, long)]
        quiet: bool,
    },
    /// Remove images; containers keep what they use of them
    Rm {
        /// Names or ids
        #[arg(required = true)]
        images: Vec<String>,
    },
}

/// An image, as `-o json` prints it.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    names: Vec<String>,
    digests: Vec<String>,
    size: u64,
    layers: Vec<String>,
}

/// Does one command on images.
pub async fn run(global: &Global, args: ImageArgs) -> Result<(), Error> {
    let store = ImageStore::new(global.root().join("images"));
    match args.command {
        ImageCommand::Load { archive, name } => {
            let loaded = store.load(&archive, name.as_deref());
            for image in loaded.map_err(|error| failed("load", &archive, error))? {
                told(&image)?;
            }
            Ok(())
        }
        ImageCommand::Import { rootfs, name } => {
            let made = store.import_rootfs(&rootfs, &name);
            told(&made.map_err(|error| failed("import", &rootfs, error))?)
        }
        ImageCommand::Ls { quiet } => list(global, &store, quiet),
        ImageCommand::Rm { images } => remove(global, &images).await,
    }
}

fn failed(operation: &str, path: &Path, error: ImageError) -> Error {
    match error {
        ImageError::Reference(error) => Error::Usage(chain(&error)),
        error => Error::Io {
            operation: format!("{operation} {}", path.display()),
            source: std::io::Error::other(chain(&error)),
        },
    }
}

fn told(image: &LoadedImage) -> Result<(), Error> {
    let names = match &image.tags[..] {
        [] => "no name".to_owned(),
        tags => tags.join(", "),
    };
    output::text(&format!("{} {names}\n", image.id))
}

fn list(global: &Global, store: &ImageStore, quiet: bool) -> Result<(), Error> {
    let images = store
        .list()
        .map_err(|error| failed("read", store.root(), error))?;
    if quiet {
        return output::ids(images.iter().map(|image| image.id.as_str()));
    }
    let rows: Vec<Row> = images
        .iter()
        .map(|image| Row {
            id: image.id.clone(),
            names: image.tags.clone(),
            digests: image.digests.clone(),
            size: image.size,
            layers: image.layers.clone(),
        })
        .collect();
    output::rows(global.output, &rows, |rows| {
        let mut table = Table::new(&["ID", "NAME", "SIZE"]);
        for row in rows {
            table.row([
                short(&row.id).to_owned(),
                row.names.join(", "),
                human_bytes(row.size),
            ]);
        }
        table
    })
}

async fn remove(global: &Global, names: &[String]) -> Result<(), Error> {
    let client = Client::connect(global).await?;
    for name in names {
        let image = Some(cri::ImageSpec {
            image: name.clone(),
            ..Default::default()
        });
        let mut images = client.images();
        let asked = cri::ImageStatusRequest {
            image: image.clone(),
            ..Default::default()
        };
        let known = client.call(format!("look for {name}"), images.image_status(asked));
        if known.await?.image.is_none() {
            return Err(Error::NotFound {
                kind: "image",
                word: name.clone(),
                see: "outlive image ls",
            });
        }
        let removed = images.remove_image(cri::RemoveImageRequest { image });
        client.call(format!("remove {name}"), removed).await?;
    }
    Ok(())
}
