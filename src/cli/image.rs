//! `outlive image`: the local images. `load`, `import` and `ls` work on the store's directory, with or without a
//! supervisor; `rm` asks the supervisor, which knows the layers that containers use. [`served`] finds the directory.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::args::{Format, Global};
use super::client::Client;
use super::error::{Error, tell};
use super::output;
use super::quantity::human_bytes;
use super::served;
use super::table::{Ids, Table};
use super::time::{ago, rfc3339};
use crate::api::cri;
use crate::images::{Image, ImageStore, LoadedImage};
use crate::types::Timestamp;

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
    /// Load the images of an archive: OCI layout (a directory or a tar file), docker archive or skopeo `dir:`, compressed
    /// or not
    Load(LoadArgs),
    /// Make an image of a directory with a root filesystem
    Import {
        /// The directory
        rootfs: PathBuf,
        /// The image's name
        name: String,
    },
    /// List images
    Ls(ListImagesArgs),
    /// Remove images, or one of several names of an image
    Rm(RemoveImagesArgs),
}

/// `image load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Call the one image in it so
    #[arg(long)]
    name: Option<String>,
    /// The archive, as docker-load(1) has it
    #[arg(long, short, value_name = "FILE", conflicts_with = "archive")]
    input: Option<PathBuf>,
    /// Print nothing
    #[arg(long, short)]
    quiet: bool,
    /// The archive; - for standard input [default: standard input, unless it is a terminal]
    archive: Option<PathBuf>,
}

/// `image ls`.
#[derive(Debug, Args)]
pub struct ListImagesArgs {
    /// Ids only
    #[arg(long, short)]
    quiet: bool,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
}

/// `image rm`.
#[derive(Debug, Args)]
pub struct RemoveImagesArgs {
    /// Which images
    #[arg(required = true)]
    images: Vec<String>,
}

impl LoadArgs {
    /// Where the archive is.
    fn archive(&self) -> Result<&Path, Error> {
        match self.input.as_deref().or(self.archive.as_deref()) {
            Some(path) if path != Path::new("-") => Ok(path),
            None if std::io::stdin().is_terminal() => Err(Error::Usage(
                "name an archive, or give one on standard input: outlive image load < FILE"
                    .to_owned(),
            )),
            Some(_) | None => Ok(Path::new("/dev/stdin")),
        }
    }
}

/// An image, as `-o json` prints it.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    tags: Vec<String>,
    digests: Vec<String>,
    size_bytes: u64,
    layers: usize,
    created_at: Option<String>,
}

/// An image that came in, as `-o json` prints it.
#[derive(Debug, Serialize)]
struct Loaded {
    id: String,
    tags: Vec<String>,
    layers_unpacked: usize,
    layers_shared: usize,
}

/// Does one command on images.
pub async fn run(global: &Global, command: ImageCommand) -> Result<ExitCode, Error> {
    let store = served::image_store(global).await?;
    match command {
        ImageCommand::Load(args) => {
            let loaded = store.load(args.archive()?, args.name.as_deref());
            let loaded = loaded.map_err(Box::new)?;
            if !args.quiet {
                show(global.output, loaded)?;
            }
        }
        ImageCommand::Import { rootfs, name } => {
            let loaded = store.import_rootfs(&rootfs, &name).map_err(Box::new)?;
            show(global.output, vec![loaded])?;
        }
        ImageCommand::Ls(args) => list(global.output, &store, &args)?,
        ImageCommand::Rm(args) => return remove(global, &store, &args.images).await,
    }
    Ok(ExitCode::SUCCESS)
}

fn show(format: Format, loaded: Vec<LoadedImage>) -> Result<(), Error> {
    let loaded = loaded.into_iter().map(|image| Loaded {
        id: image.id,
        tags: image.tags,
        layers_unpacked: image.unpacked,
        layers_shared: image.shared,
    });
    let loaded: Vec<Loaded> = loaded.collect();
    match format {
        Format::Json => output::json(&loaded),
        Format::Table => {
            let line = |image: &Loaded| format!("{}  {}\n", image.id, image.tags.join(" "));
            output::text(&loaded.iter().map(line).collect::<String>())
        }
    }
}

fn list(format: Format, store: &ImageStore, args: &ListImagesArgs) -> Result<(), Error> {
    let images = store.list().map_err(Box::new)?;
    let length = Ids::from(args.no_trunc);
    if args.quiet {
        return output::ids(images.iter().map(|image| image.id.as_str()));
    }
    let rows: Vec<Row> = images.iter().map(row).collect();
    output::rows(format, &rows, |rows| {
        let now = Timestamp::now();
        let mut table = Table::new(&["NAME", "ID", "LAYERS", "SIZE", "CREATED"]);
        for row in rows {
            let created = row.created_at.as_deref().and_then(rfc3339);
            let created = created.map(|at| ago(at, now)).unwrap_or_default();
            let unnamed = row.tags.is_empty().then(String::new);
            for name in row.tags.iter().cloned().chain(unnamed) {
                table.row([
                    name,
                    length.show(&row.id),
                    row.layers.to_string(),
                    human_bytes(row.size_bytes),
                    created.clone(),
                ]);
            }
        }
        table
    })
}

fn row(image: &Arc<Image>) -> Row {
    Row {
        id: image.id.clone(),
        tags: image.tags.clone(),
        digests: image.digests.clone(),
        size_bytes: image.size,
        layers: image.layers.len(),
        created_at: image.config.created().clone(),
    }
}

async fn remove(global: &Global, store: &ImageStore, words: &[String]) -> Result<ExitCode, Error> {
    let mut code = 0;
    for word in words {
        match remove_one(global, store, word).await {
            Ok(()) => output::text(&format!("{word}\n"))?,
            Err(error) => {
                tell(&error);
                if code == 0 {
                    code = error.exit_code();
                }
            }
        }
    }
    Ok(ExitCode::from(code))
}

async fn remove_one(global: &Global, store: &ImageStore, word: &str) -> Result<(), Error> {
    let image = store.get(word).map_err(Box::new)?;
    let is_id = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
    let by_id = is_id.starts_with(word.strip_prefix("sha256:").unwrap_or(word));
    if image.tags.len() > 1 && !by_id {
        store.untag(word).map_err(Box::new)?;
        return Ok(());
    }
    let client = Client::connect(global).await?;
    let request = cri::RemoveImageRequest {
        image: Some(cri::ImageSpec {
            image: image.id.clone(),
            ..Default::default()
        }),
    };
    let mut images = client.images();
    let call = images.remove_image(request);
    client.call(format!("remove image {word}"), call).await?;
    Ok(())
}
