//! RemoveContainer.
//!
//! ```text
//! stopped --> task, shim and bundle gone --> ID/ renamed to .gone-ID/ --> out of the store, DELETED --> files gone
//!                                            (from here on it is gone, whatever crashes)
//! ```

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{busy, silent, stop};
use crate::supervisor::cleanup;
use crate::supervisor::context::Supervisor;
use crate::supervisor::crash;
use crate::supervisor::error::Error;
use crate::supervisor::store::{self, Container, Phase};
use crate::sys::file;
use crate::types::error::chain;

/// RemoveContainer, which kills a running one.
///
/// # Errors
/// [`Error`]; may be called again.
pub async fn remove(supervisor: &Arc<Supervisor>, container: &Arc<Container>) -> Result<(), Error> {
    let _removing = container
        .begin(Phase::Removing)
        .map_err(|phase| busy(container, phase))?;
    stop::end(supervisor, container, Duration::ZERO).await?;
    crash::point("remove.stopped");
    silent::end_silent_shim(supervisor, container).await?;
    let _task = container.lock_task().await;
    cleanup::clean_once(supervisor, container).await?;
    crash::point("remove.cleaned");
    let from = container.dir().to_owned();
    let gone = from.with_file_name(format!(".gone-{}", container.id()));
    let (to, files) = (
        gone.clone(),
        supervisor.store.layout().files(container.id()),
    );
    store::blocking("remove", from.clone(), move || {
        if crash::has_defect("removal") {
            return Ok(());
        }
        match std::fs::rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed?,
        }
        Container::forget_end(&files)?;
        file::sync_parent(&to)
    })
    .await?;
    crash::point("remove.renamed");
    supervisor.store.remove_container(container.id());
    supervisor
        .events
        .container_deleted(&supervisor.store, container);
    let path = gone.clone();
    let removed = store::blocking("remove", gone, move || {
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    });
    if let Err(error) = removed.await {
        // The next start of the supervisor removes it.
        log::warn!(container = container.id().as_str(), error:% = chain(&error); "the removed container's files are still there");
    }
    Ok(())
}
