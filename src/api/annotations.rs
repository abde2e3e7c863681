//! The annotations by which `outlive run` tells the supervisor, and later commands, what CRI has no field for.
//!
//! All of them are a container's. A pod's annotations are not ours to believe: under Kubernetes its users write them.

/// The log directory that is the container's own, and goes with it. Absolute; the pod's `log_directory`.
pub const LOG_DIRECTORY: &str = "outlive.run/log-directory";

/// With the value [`YES`]: the supervisor removes the container's pod, with all that is in it, when every container of
/// the pod has ended, and the directory of [`LOG_DIRECTORY`] with it.
pub const REMOVE_WHEN_ENDED: &str = "outlive.run/remove-when-ended";

/// What an annotation says that is set.
pub const YES: &str = "true";
