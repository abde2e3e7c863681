//! The label and annotations by which `outlive run` tells the supervisor, and later commands, what CRI has no field for.
//!
//! Under Kubernetes users write a pod's labels and annotations. So a container's count, and a pod's only where the pod has
//! no containers, and the namespace and uid that `outlive run` gives it: a uid of Kubernetes is never the pod's name.

/// The label of all that `outlive run` makes.
pub const LABEL: &str = "outlive.run";

/// The pod namespace (Kubernetes' word) of what `outlive run` makes. The uid of its pods is their name.
pub const NAMESPACE: &str = "outlive-run";

/// The log directory that is the container's own, and goes with it. Absolute; the pod's `log_directory`.
pub const LOG_DIRECTORY: &str = "outlive.run/log-directory";

/// With the value [`YES`]: the supervisor removes the container's pod, with all that is in it, when every container of
/// the pod has ended, and the directory of [`LOG_DIRECTORY`] with it.
pub const REMOVE_WHEN_ENDED: &str = "outlive.run/remove-when-ended";

/// What an annotation says that is set.
pub const YES: &str = "true";
