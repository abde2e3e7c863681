//! Where the supervisor keeps its data: asked of the one that runs, so that no command works on another store unseen.
//!
//! ```text
//! a supervisor listens at --address    its own root, state and images; another --root is refused
//! none listens there                   --root, OUTLIVE_ROOT, the root of /etc/outlive/supervisor.toml, the default;
//!                                      the command says on stderr which it uses
//! no answer, no permission             an error: whether one runs is not known; but for commands that only look
//! ```

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::args::{DEFAULT_ROOT, Global};
use super::client::Client;
use super::error::{Error, warn};
use crate::api::cri;
use crate::config::supervisor::{Config, DEFAULT_FILE};
use crate::images::ImageStore;
use crate::types::error::chain;

/// What a running supervisor says of itself: `info` of a verbose Status, which has more.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Served {
    /// What survives a reboot.
    pub root: PathBuf,
    /// What does not.
    pub state: PathBuf,
    /// The image store; an earlier version does not tell.
    images: Option<PathBuf>,
}

/// Asks the supervisor at the address; `None` where none listens.
async fn ask(global: &Global) -> Result<Option<Served>, Error> {
    let client = match Client::connect(global).await {
        Ok(client) => client,
        Err(error) if error.is_absence() => return Ok(None),
        Err(error) => return Err(error),
    };
    match told(&client).await? {
        Some(served) => Ok(Some(served)),
        None => Err(Error::Unsupported(format!(
            "the CRI server at {} does not say where its images are: it is not `outlive serve`",
            global.address()
        ))),
    }
}

/// What a CRI server says; `None` where it is another than `outlive serve`.
async fn told(client: &Client) -> Result<Option<Served>, Error> {
    let mut runtime = client.runtime();
    let status = runtime.status(cri::StatusRequest { verbose: true });
    let mut status = client.call("status of the supervisor", status).await?;
    let info = status.info.remove("info").unwrap_or_default();
    Ok(serde_json::from_str(&info).ok())
}

/// The root below which `run` puts logs: the supervisor's, or for another CRI server ours.
///
/// # Errors
/// As [`image_store`].
pub async fn root(global: &Global, client: &Client) -> Result<PathBuf, Error> {
    match told(client).await? {
        Some(served) => {
            agree(global, "root", global.root.as_deref(), &served.root)?;
            Ok(served.root)
        }
        None => Ok(root_without_supervisor(global)?.0),
    }
}

/// The image store that a command works on.
///
/// # Errors
/// `Usage` where `--root` names another than the running supervisor has; else whether one runs is not known.
pub async fn image_store(global: &Global) -> Result<ImageStore, Error> {
    if let Some(served) = ask(global).await? {
        agree(global, "root", global.root.as_deref(), &served.root)?;
        let images = served.images.unwrap_or_else(|| images(&served.root));
        return Ok(ImageStore::new(images));
    }
    let (root, from) = root_without_supervisor(global)?;
    let images = images(&root);
    warn(&format!(
        "no supervisor listens at {}: working on the images in {} ({from})",
        global.address(),
        images.display()
    ));
    Ok(ImageStore::new(images))
}

/// As the supervisor has it: supervisor/store/layout.rs.
fn images(root: &Path) -> PathBuf {
    root.join("images")
}

fn root_without_supervisor(global: &Global) -> Result<(PathBuf, &'static str), Error> {
    if let Some(root) = &global.root {
        return Ok((root.clone(), "--root or OUTLIVE_ROOT"));
    }
    match Config::root_of(Path::new(DEFAULT_FILE)) {
        Ok(Some(root)) => Ok((root, DEFAULT_FILE)),
        Ok(None) => Ok((DEFAULT_ROOT.into(), "the default; --root names another")),
        Err(error) => Err(Error::Usage(format!(
            "{}; --root names the directory without that file",
            chain(&error)
        ))),
    }
}

/// The root and state that a start would find: those of the supervisor at `global`'s address, where one runs, else
/// `configured`, which is said. Blocks.
///
/// # Errors
/// `Usage` where a flag names another directory than that supervisor has.
pub fn directories(
    global: &Global,
    state: Option<&Path>,
    configured: (PathBuf, PathBuf),
) -> Result<(PathBuf, PathBuf), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|source| Error::Io {
        operation: "start the asynchronous runtime".to_owned(),
        source,
    })?;
    let why = match runtime.block_on(ask(global)) {
        Ok(Some(served)) => {
            agree(global, "root", global.root.as_deref(), &served.root)?;
            agree(global, "state", state, &served.state)?;
            return Ok((served.root, served.state));
        }
        Ok(None) => format!("no supervisor listens at {}", global.address()),
        // Looking changes nothing, and is wanted most where a supervisor hangs.
        Err(error) => chain(&error),
    };
    warn(&format!(
        "{why}: looking at {} and {}",
        configured.0.display(),
        configured.1.display()
    ));
    Ok(configured)
}

/// Refuses a directory that is not the running supervisor's.
fn agree(global: &Global, key: &str, given: Option<&Path>, served: &Path) -> Result<(), Error> {
    match given {
        Some(given) if !is_same(given, served) => Err(Error::Usage(format!(
            "--{key} (or its environment variable) is {}, but the supervisor at {} has {}: leave it out, or name the other \
             supervisor's socket with --address",
            given.display(),
            global.address(),
            served.display()
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Whether two paths lead to one directory.
fn is_same(one: &Path, other: &Path) -> bool {
    let inode = |path: &Path| {
        fs::metadata(path)
            .map(|found| (found.dev(), found.ino()))
            .ok()
    };
    one == other || matches!((inode(one), inode(other)), (Some(one), Some(other)) if one == other)
}
