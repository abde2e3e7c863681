//! What the shim announces to its manager (containerd `api/events/task.proto`).

use super::{ContainerId, ExecId, ExitRecord, Mount, Pid};

/// The stdio of a created task, as its creator asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskIo {
    /// Where stdin comes from; empty for none.
    pub stdin: String,
    /// Where stdout goes; empty for nowhere.
    pub stdout: String,
    /// Where stderr goes; empty for nowhere.
    pub stderr: String,
    /// Whether the three are a terminal.
    pub terminal: bool,
}

/// One announcement about one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A task was created.
    Create {
        /// Whose.
        container: ContainerId,
        /// Its bundle directory.
        bundle: String,
        /// What its root filesystem was mounted from.
        rootfs: Vec<Mount>,
        /// Its stdio.
        io: TaskIo,
        /// The checkpoint that it will be restored from; empty for none.
        checkpoint: String,
        /// Its init's pid; `None` before a restore.
        pid: Option<Pid>,
    },
    /// A task's program was started.
    Start {
        /// Whose.
        container: ContainerId,
        /// Its init's pid.
        pid: Pid,
    },
    /// A process of the task was killed for want of memory.
    Oom {
        /// Whose.
        container: ContainerId,
    },
    /// A process ended; `exec` is `None` for init.
    Exit {
        /// Whose.
        container: ContainerId,
        /// Which process.
        exec: Option<ExecId>,
        /// How it ended.
        exit: ExitRecord,
    },
    /// A task was deleted.
    Delete {
        /// Whose.
        container: ContainerId,
        /// How its init had ended; `None` where it was never started.
        exit: Option<ExitRecord>,
        /// Its init's pid, 0 where there never was one.
        pid: u32,
    },
    /// A further process was announced.
    ExecAdded {
        /// Whose.
        container: ContainerId,
        /// Which process.
        exec: ExecId,
    },
    /// A further process was started.
    ExecStarted {
        /// Whose.
        container: ContainerId,
        /// Which process.
        exec: ExecId,
        /// Its pid.
        pid: Pid,
    },
    /// A task was frozen.
    Paused {
        /// Whose.
        container: ContainerId,
    },
    /// A frozen task goes on.
    Resumed {
        /// Whose.
        container: ContainerId,
    },
    /// A task was checkpointed.
    Checkpointed {
        /// Whose.
        container: ContainerId,
        /// The directory of the images.
        checkpoint: String,
    },
}
