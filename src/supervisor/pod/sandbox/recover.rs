//! Pods after a restart: what their files and the kernel say of them, and what follows from that.
//!
//! Called by [`crate::supervisor::recovery`], pod by pod, before anybody else works on them.
//!
//! | status.json \ found | all there | something is gone | cannot be told |
//! |---|---|---|---|
//! | Creating | undone | undone | undone |
//! | Ready | Ready | NotReady | Unknown, kept |
//! | NotReady | NotReady | NotReady | NotReady |
//! | Unknown | Unknown, kept | Unknown, kept | Unknown, kept |
//!
//! "All there" is: the namespaces are bound, /dev/shm is mounted, the plugins' ADD was answered and no DEL has begun, and
//! the init of a shared pid namespace is that very process.

use std::io;
use std::sync::Arc;

use super::{NETWORK_RECORD, step, teardown, watch};
use crate::api::cri;
use crate::bundle::Read;
use crate::supervisor::context::Supervisor;
use crate::supervisor::error::Error;
use crate::supervisor::network::given_up::Ending;
use crate::supervisor::network::{self, Phase};
use crate::supervisor::pod::namespaces::{PidScope, Plan, Scope};
use crate::supervisor::store::{Layout, Pod, PodCheckpoint, PodMeta, PodState};
use crate::sys::proc;
use crate::types::ContainerId;
use crate::types::error::chain;

/// Before the id: a directory that is on its way to be a pod's.
pub const NEW: &str = ".new-";
/// Before the id: a directory that was a pod's.
pub const GONE: &str = ".gone-";

/// What was found of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Findings {
    /// Everything, with its addresses.
    AllThere(Vec<String>),
    /// Something is gone.
    Gone(String),
    /// It cannot be told, and why.
    Unclear(String),
}

/// What a pod is, or what is to be done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is ready, with these addresses.
    Ready(Vec<String>),
    /// It is not ready: it was stopped, or something is gone.
    NotReady(String),
    /// It is kept, and nothing is done with it until somebody stops or removes it.
    Unknown(String),
    /// It was never made to the end: [`undo`].
    Undo,
}

/// Looks at a pod's files, mounts and init; changes nothing. Blocks.
#[must_use]
pub fn survey(
    layout: &Layout,
    id: &ContainerId,
    meta: Option<&PodMeta>,
    checkpoint: &PodCheckpoint,
) -> Findings {
    let Some(meta) = meta else {
        return Findings::Unclear("pod.json is missing or cannot be read".into());
    };
    let plan = match Plan::of(&meta.config) {
        Ok(plan) => plan,
        Err(error) => return Findings::Unclear(chain(&error)),
    };
    match plan.missing(&layout.pod_state(id)) {
        Ok(None) => {}
        Ok(Some(name)) => return Findings::Gone(format!("{name} is not mounted")),
        Err(error) => return Findings::Unclear(chain(&error)),
    }
    if plan.pid == PidScope::Pod {
        let Some(init) = checkpoint.init else {
            return Findings::Unclear("which process is its init is not recorded".into());
        };
        match proc::running(init.pid) {
            Ok(found) if found == init => {}
            Ok(_) => return Findings::Gone("its init has ended".into()),
            Err(error) if is_gone(&error) => {
                return Findings::Gone("its init has ended".into());
            }
            Err(error) => return Findings::Unclear(format!("its init: {error}")),
        }
    }
    if plan.network == Scope::Node {
        return Findings::AllThere(Vec::new());
    }
    match network::recorded(&layout.pod(id).join(NETWORK_RECORD)) {
        Read::Found((Phase::Added, addresses)) => Findings::AllThere(addresses),
        Read::Found((Phase::Adding | Phase::Deleting, _)) | Read::Absent => {
            Findings::Gone("its network is deleted".into())
        }
        Read::Corrupt(path, why) => {
            Findings::Unclear(format!("{}: {}", path.display(), chain(&why)))
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// What follows from what is on disk and what was found: the table above. Pure.
#[must_use]
pub fn judge(state: &PodState, found: Findings) -> Verdict {
    match (state, found) {
        (PodState::Creating, _) => Verdict::Undo,
        (PodState::NotReady, _) => Verdict::NotReady("it was stopped".into()),
        // Files that contradict each other are not made true by what is there: a stop or a removal ends this.
        (PodState::Unknown(why), _) => Verdict::Unknown(why.clone()),
        (PodState::Ready, Findings::AllThere(addresses)) => Verdict::Ready(addresses),
        (PodState::Ready, Findings::Gone(why)) => Verdict::NotReady(why),
        (PodState::Ready, Findings::Unclear(why)) => Verdict::Unknown(why),
    }
}

/// Decides what a pod from disk is, and makes it so; what has changed is written. For [`Verdict::Undo`] nothing is done
/// yet: the caller calls [`undo_or_keep`].
pub async fn restore(supervisor: &Arc<Supervisor>, pod: &Arc<Pod>) -> Verdict {
    let _working = pod.lock_work().await;
    let before = pod.checkpoint();
    let (shared, surveyed) = (Arc::clone(supervisor), Arc::clone(pod));
    let found = step("look at a pod", move || {
        let (layout, checkpoint) = (shared.store.layout(), surveyed.checkpoint());
        Ok(survey(layout, surveyed.id(), surveyed.meta(), &checkpoint))
    });
    let found = found.await;
    let found = found.unwrap_or_else(|error| Findings::Unclear(chain(&error)));
    let verdict = judge(&before.state, found);
    let state = match &verdict {
        Verdict::Ready(addresses) => {
            pod.set_addresses(addresses.clone());
            PodState::Ready
        }
        Verdict::NotReady(_) => PodState::NotReady,
        Verdict::Unknown(why) => PodState::Unknown(why.clone()),
        Verdict::Undo => return verdict,
    };
    if state != before.state {
        let init = before.init;
        pod.observe(PodCheckpoint { state, init }).await;
        if before.state == PodState::Ready && matches!(verdict, Verdict::NotReady(_)) {
            let kind = cri::ContainerEventType::ContainerStoppedEvent;
            supervisor.events.publish(&supervisor.store, pod.id(), kind);
        }
    }
    if matches!(verdict, Verdict::Ready(_)) {
        watch::init(supervisor, pod);
    }
    verdict
}

/// Takes away a pod that was never ready, and takes it out of the store. One that cannot be taken away whole stays there,
/// not ready, until somebody removes it. Its work is locked, or nobody else can know it yet.
pub async fn undo_or_keep(supervisor: &Arc<Supervisor>, pod: &Arc<Pod>) {
    match undo(supervisor, pod.id()).await {
        Ok(()) => supervisor.store.remove_pod(pod.id()),
        Err(left) => {
            log::warn!(pod = pod.id().as_str(), error:% = chain(&left); "a pod that was never ready could not be undone; it stays until it is removed");
            let init = pod.checkpoint().init;
            let state = PodState::NotReady;
            pod.observe(PodCheckpoint { state, init }).await;
        }
    }
}

/// Takes away all that there is of a pod that was never ready: its network, init, namespaces, cgroup and files.
///
/// # Errors
/// The first error; everything that could be undone is. May be called again.
pub async fn undo(supervisor: &Arc<Supervisor>, id: &ContainerId) -> Result<(), Error> {
    let dir = supervisor.store.layout().pod(id);
    let read = step("read a pod's files", move || {
        let meta = PodMeta::read(&dir.join("pod.json"));
        Ok((meta, PodCheckpoint::read(&dir.join("status.json"))))
    });
    let (meta, checkpoint) = read.await?;
    let meta = match meta {
        Read::Found(meta) => Some(meta),
        Read::Absent | Read::Corrupt(..) => None,
    };
    let init = match checkpoint {
        Read::Found(checkpoint) => checkpoint.init,
        Read::Absent => None,
        Read::Corrupt(path, why) => {
            log::warn!(pod = id.as_str(), path:% = path.display(), error:% = chain(&why); "whether the pod has an init cannot be told");
            None
        }
    };
    teardown::teardown(supervisor, id, init, Ending::Stopped).await?;
    teardown::remove_record(supervisor, id, meta.as_ref()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_of_the_table() {
        let there = || Findings::AllThere(vec!["10.0.0.2".into()]);
        let gone = || Findings::Gone("net is not mounted".into());
        let unclear = || Findings::Unclear("EIO".into());
        let ready = Verdict::Ready(vec!["10.0.0.2".into()]);
        let not_ready = Verdict::NotReady("net is not mounted".into());
        let stopped = Verdict::NotReady("it was stopped".into());
        let unknown = Verdict::Unknown("EIO".into());
        let was_unknown = PodState::Unknown("then".into());
        let still_unknown = Verdict::Unknown("then".into());
        for (state, expected) in [
            (PodState::Creating, [&Verdict::Undo; 3]),
            (PodState::Ready, [&ready, &not_ready, &unknown]),
            (PodState::NotReady, [&stopped; 3]),
            (was_unknown, [&still_unknown; 3]),
        ] {
            for (found, expected) in [there(), gone(), unclear()].into_iter().zip(expected) {
                assert_eq!(
                    &judge(&state, found.clone()),
                    expected,
                    "{state:?} {found:?}"
                );
            }
        }
    }
}
