//! GetContainerEvents: every state change of containers and pods, once for each consumer, in order.

use super::store::Store;
use crate::api::cri;
use crate::types::ContainerId;

/// Who listens.
#[derive(Debug, Default)]
pub struct Events;

impl Events {
    /// Tells every consumer of a change of `id`, a container or a pod, that is in the store already.
    pub fn publish(&self, _store: &Store, _id: &ContainerId, _kind: cri::ContainerEventType) {}
}
