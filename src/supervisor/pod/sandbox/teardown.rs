//! What stop, remove, and the way back of a run that failed have in common. All of it may be done again.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{NETWORK_RECORD, cgroup, failed, recover, step};
use crate::supervisor::context::Supervisor;
use crate::supervisor::crash;
use crate::supervisor::error::Error;
use crate::supervisor::network::Plugins;
use crate::supervisor::network::given_up::{self, Ending};
use crate::supervisor::pod::{namespaces, sandbox_init};
use crate::supervisor::store::PodMeta;
use crate::sys::file;
use crate::sys::namespace::{self, Kind};
use crate::types::error::chain;
use crate::types::{ContainerId, ProcessIdentity};

/// The first of `errors`; the others are logged.
pub(super) fn first(pod: &ContainerId, errors: Vec<Error>) -> Result<(), Error> {
    let mut errors = errors.into_iter();
    let Some(first) = errors.next() else {
        return Ok(());
    };
    for error in errors {
        log::warn!(pod = pod.as_str(), error:% = chain(&error); "one more step failed");
    }
    Err(first)
}

/// Takes away the network, the init and the namespaces of `id`.
///
/// # Errors
/// The first error; everything that could be done was. While the network is not deleted and not given up, its namespace
/// stays: the plugins clean up by what they find in there.
pub(super) async fn teardown(
    supervisor: &Arc<Supervisor>,
    id: &ContainerId,
    init: Option<ProcessIdentity>,
    ending: Ending,
) -> Result<(), Error> {
    let mut errors = Vec::new();
    let detached = detach(supervisor, id, ending).await;
    let is_detached = detached.is_ok();
    errors.extend(detached.err());
    crash::point("stop_pod.network");
    let ended = end_init(init).await;
    errors.extend(ended.err());
    crash::point("stop_pod.init");
    if is_detached {
        let dir = supervisor.store.layout().pod_state(id);
        let unmade = step("give up the pod's namespaces", move || {
            Ok(namespaces::unmake(&dir)?)
        });
        errors.extend(unmade.await.err());
        crash::point("stop_pod.namespaces");
    }
    first(id, errors)
}

async fn detach(supervisor: &Supervisor, id: &ContainerId, ending: Ending) -> Result<(), Error> {
    let layout = supervisor.store.layout();
    let netns = layout.pod_state(id).join(Kind::Net.name());
    let pin = netns.clone();
    let is_pinned = step("look at the pod's network namespace", move || {
        namespace::is_pinned(&pin).map_err(|error| failed("look at", &pin, error))
    });
    let netns = is_pinned.await?.then_some(netns);
    let record = layout.pod(id).join(NETWORK_RECORD);
    let plugins = Plugins::from(&supervisor.config);
    let left = layout.networks_left();
    Ok(given_up::detach(&plugins, id, netns.as_deref(), &record, &left, ending).await?)
}

/// Ends the init of a shared pid namespace, where there is one.
pub(super) async fn end_init(init: Option<ProcessIdentity>) -> Result<(), Error> {
    let Some(identity) = init else { return Ok(()) };
    step("end the pod's init", move || {
        let path = format!("/proc/{}", identity.pid);
        let ended = sandbox_init::end(identity);
        ended.map_err(|error| failed("end", Path::new(&path), error))
    })
    .await
}

/// Takes away the pod's own cgroup and its directory. Its containers, network and namespaces are gone.
pub(super) async fn remove_record(
    supervisor: &Arc<Supervisor>,
    id: &ContainerId,
    meta: Option<&PodMeta>,
) -> Result<(), Error> {
    // Where it cannot be read whose the cgroup was, ours is tried: it is named after the pod.
    let is_ours = meta.is_none_or(|meta| cgroup::requested(&meta.config).is_none());
    let (shared, pod) = (Arc::clone(supervisor), id.clone());
    if is_ours {
        step("remove the pod's cgroup", move || {
            cgroup::remove(&shared.config, &pod)
        })
        .await?;
    }
    crash::point("remove_pod.cgroup");
    let dir = supervisor.store.layout().pod(id);
    let gone = dir.with_file_name(format!("{}{id}", recover::GONE));
    let (from, to) = (dir.clone(), gone.clone());
    step("rename the pod's directory", move || {
        let renamed = match fs::rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.and_then(|()| file::sync_parent(&to)),
        };
        renamed.map_err(|error| failed("rename", &from, error))
    })
    .await?;
    crash::point("remove_pod.renamed");
    step(
        "remove the pod's directory",
        move || match fs::remove_dir_all(&gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|error| failed("remove", &gone, error)),
        },
    )
    .await
}
