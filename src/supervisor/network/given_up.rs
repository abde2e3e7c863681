//! When a network that cannot be deleted is given up, and `ROOT/networks-left/ID.json`, which says what may be left.
//!
//! A plugin that is gone or refuses DEL must not keep its pod for ever: containerd answers StopPodSandbox with an error then
//! (`internal/cri/server/sandbox_stop.go`), kubelet never gets to RemovePodSandbox, and the pod stays Terminating. Here the
//! first attempts fail alike, since most plugins come back (a daemon that is being upgraded, a lock):
//!
//! | DEL failed, and it was | StopPodSandbox | RemovePodSandbox |
//! |---|---|---|
//! | the first attempt | error | error |
//! | a later one, the plugin is gone or refuses | error | given up |
//! | a later one, anything else | error | error |
//! | any, [`PATIENCE`] or more after the first attempt | given up | given up |
//!
//! What may be left are addresses, firewall rules and devices on the host, which only the plugin knows. The interfaces in
//! the pod go with its namespace.
//!
//! ```text
//! {"version":1,"pod":"ID","given_up_at":NS,"error":"..","network":{as network.json} or null}
//! ```

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::cache::Cache;
use super::{NetworkError, Plugins, blocking};
use crate::bundle::Read;
use crate::sys::file;
use crate::types::error::chain;
use crate::types::{ContainerId, Timestamp};

/// How long after the first DEL a pod waits for its network to be deleted. kubelet asks again every few seconds.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// The most records that are kept; the oldest go first.
const MAX_RECORDS: usize = 256;
const VERSION: u32 = 1;

/// What ends a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// StopPodSandbox, or the way back of a RunPodSandbox that failed: it is asked for again.
    Stopped,
    /// RemovePodSandbox.
    Removed,
}

/// Whether the network is given up after `error`. `waited` is the time since the first DEL, `None` where this was the
/// first. Pure.
fn gives_up(error: &NetworkError, ending: Ending, waited: Option<Duration>) -> bool {
    match (waited, ending) {
        (None, _) => false,
        (Some(waited), _) if waited >= PATIENCE => true,
        (Some(_), Ending::Removed) => error.is_permanent(),
        (Some(_), Ending::Stopped) => false,
    }
}

/// As [`super::detach`], but gives a network up as the table says: then `record` is moved to `left/ID.json`.
///
/// # Errors
/// As [`super::detach`]. That the record cannot be written is logged with all that it would have said.
pub async fn detach(
    plugins: &Plugins,
    id: &ContainerId,
    netns: Option<&Path>,
    record: &Path,
    left: &Path,
    ending: Ending,
) -> Result<(), NetworkError> {
    let path = record.to_owned();
    let waited = blocking(move || Ok(since_first_delete(&path))).await?;
    let Err(error) = super::detach(plugins, id, netns, record).await else {
        return Ok(());
    };
    if !gives_up(&error, ending, waited) {
        return Err(error);
    }
    let (record, left, told, pod) = (
        record.to_owned(),
        left.to_owned(),
        chain(&error),
        id.clone(),
    );
    // A full disk must not keep the pod: then the log is the record.
    match blocking(move || note(&pod, &told, &record, &left)).await {
        Ok(noted) => {
            log::error!(pod = id.as_str(), record:% = noted.display(), error:% = chain(&error);
                "the pod's network cannot be deleted and is given up: its addresses, firewall rules and devices on the host may be left");
        }
        Err(unwritten) => {
            log::error!(pod = id.as_str(), error:% = chain(&error), record_error:% = chain(&unwritten);
                "the pod's network cannot be deleted and is given up, and that is recorded nowhere else: its addresses, firewall rules and devices on the host may be left");
        }
    }
    Ok(())
}

/// The time since the first DEL of the pod whose network.json `record` is; `None` where none has begun. Blocks.
fn since_first_delete(record: &Path) -> Option<Duration> {
    match Cache::read(record) {
        Read::Found(cache) => {
            let now = Timestamp::now().unix_nanos();
            let since = cache.deleting_since?.unix_nanos();
            // A clock that was set back has waited nothing.
            Some(Duration::from_nanos(now.saturating_sub(since)))
        }
        Read::Absent | Read::Corrupt(..) => None,
    }
}

/// Writes what is left of `pod` into `left`, and removes `record`; answers the file. Blocks.
fn note(
    pod: &ContainerId,
    error: &str,
    record: &Path,
    left: &Path,
) -> Result<PathBuf, NetworkError> {
    let path = left.join(format!("{pod}.json"));
    let write = || {
        DirBuilder::new().recursive(true).mode(0o700).create(left)?;
        make_room(left)?;
        let network: Value = serde_json::from_slice(&fs::read(record)?).unwrap_or_default();
        let note = json!({
            "version": VERSION,
            "pod": pod.as_str(),
            "given_up_at": Timestamp::now().unix_nanos(),
            "error": error,
            "network": network,
        });
        file::replace(&path, note.to_string().as_bytes())
    };
    write().map_err(|source| NetworkError::File {
        operation: "write",
        path: path.clone(),
        source,
    })?;
    Cache::remove(record)?;
    Ok(path)
}

/// Removes the oldest records, so that one more is not too many.
fn make_room(left: &Path) -> io::Result<()> {
    let mut found = Vec::new();
    for entry in fs::read_dir(left)? {
        // Another pod's record may be removed meanwhile, by the same rule.
        if let Ok(entry) = entry
            && let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified())
        {
            found.push((modified, entry.path()));
        }
    }
    found.sort();
    let too_many = (found.len() + 1).saturating_sub(MAX_RECORDS);
    for (_, path) in found.into_iter().take(too_many) {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// The records in `left`, for people to look at. Blocks.
///
/// # Errors
/// What reading the directory answered.
pub fn records(left: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(left) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => {
            let mut paths = entries?
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<io::Result<Vec<_>>>()?;
            paths.sort();
            Ok(paths)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::scratch::Scratch;

    fn refused(code: u64) -> NetworkError {
        NetworkError::Refused {
            list: "net".into(),
            plugin: "x".into(),
            command: super::super::plugin::Command::Del,
            code,
            message: "no".into(),
        }
    }

    #[test]
    fn every_cell_of_the_table() {
        let (soon, late) = (Some(Duration::from_secs(1)), Some(PATIENCE));
        let (permanent, passing) = (refused(7), refused(11));
        for (error, waited, stop, remove) in [
            (&permanent, None, false, false),
            (&passing, None, false, false),
            (&permanent, soon, false, true),
            (&passing, soon, false, false),
            (&permanent, late, true, true),
            (&passing, late, true, true),
        ] {
            let told = (
                gives_up(error, Ending::Stopped, waited),
                gives_up(error, Ending::Removed, waited),
            );
            assert_eq!(told, (stop, remove), "{error} {waited:?}");
        }
    }

    #[test]
    fn records_have_a_number_that_they_do_not_exceed() {
        let scratch = Scratch::new();
        let left = scratch.path().join("left");
        for number in 0..MAX_RECORDS + 3 {
            let record = scratch.path().join("network.json");
            scratch.write("network.json", "{\"a\":1}");
            let id = ContainerId::new(&format!("p{number}")).unwrap();
            let path = note(&id, "why", &record, &left).unwrap();
            let note: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            assert_eq!(
                (&note["error"], &note["network"]["a"]),
                (&json!("why"), &json!(1))
            );
            assert!(!record.exists());
        }
        assert_eq!(records(&left).unwrap().len(), MAX_RECORDS);
        assert!(records(&scratch.path().join("none")).unwrap().is_empty());
    }
}
