//! Between the shim's own types and containerd's messages; no decisions.

use containerd_shim_protos::api;
use containerd_shim_protos::events::task as events;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp as ProtoTimestamp;
use containerd_shim_protos::protobuf::{EnumOrUnknown, Message};
use containerd_shim_protos::topics;
use containerd_shim_protos::types::mount::Mount as ProtoMount;
use log::error;

use crate::cgroup::Metrics;
use crate::types::event::TaskIo;
use crate::types::{Event, ExecId, ExitRecord, Mount, TaskStatus, Timestamp};

/// A point in time.
#[must_use]
pub fn timestamp(at: Timestamp) -> ProtoTimestamp {
    ProtoTimestamp {
        seconds: at.seconds(),
        nanos: at.subsec_nanos(),
        ..ProtoTimestamp::default()
    }
}

/// A message of the protobuf package `package` with its bare type name, as containerd's typeurl writes it. The name is put
/// together by hand: asking the message's descriptor would build that of its whole file, and keep it, in every shim.
#[must_use]
pub fn any<M: Message>(package: &str, message: &M) -> Any {
    let value = message.write_to_bytes().unwrap_or_else(|error| {
        // Only a message with a missing required field cannot be written, and proto3 has none.
        error!("encode {}: {error}", M::NAME);
        Vec::new()
    });
    Any {
        type_url: format!("{package}.{}", M::NAME),
        value,
        ..Any::default()
    }
}

fn event_any<M: Message>(message: &M) -> Any {
    any("containerd.events", message)
}

/// A mount of a request.
#[must_use]
pub fn mount(mount: ProtoMount) -> Mount {
    Mount {
        kind: mount.type_,
        source: mount.source,
        target: mount.target,
        options: mount.options,
    }
}

fn proto_mount(mount: Mount) -> ProtoMount {
    ProtoMount {
        type_: mount.kind,
        source: mount.source,
        target: mount.target,
        options: mount.options,
        ..ProtoMount::default()
    }
}

/// A state, with the exit where there is one.
#[must_use]
pub fn status(status: TaskStatus) -> (EnumOrUnknown<api::Status>, Option<ExitRecord>) {
    let (status, exit) = match status {
        TaskStatus::Created => (api::Status::CREATED, None),
        TaskStatus::Running => (api::Status::RUNNING, None),
        TaskStatus::Pausing => (api::Status::PAUSING, None),
        TaskStatus::Paused => (api::Status::PAUSED, None),
        TaskStatus::Stopped(exit) => (api::Status::STOPPED, Some(exit)),
    };
    (EnumOrUnknown::new(status), exit)
}

/// Statistics under the names that containerd's clients know them by.
#[must_use]
pub fn metrics(metrics: &Metrics) -> Any {
    match metrics {
        Metrics::V1(metrics) => any("io.containerd.cgroups.v1", metrics.as_ref()),
        Metrics::V2(metrics) => any("io.containerd.cgroups.v2", metrics.as_ref()),
    }
}

fn exec_id(exec: Option<ExecId>, container: &str) -> String {
    // Init is told by its container's id.
    exec.map_or_else(|| container.to_owned(), |exec| exec.to_string())
}

/// An event's topic and message.
#[must_use]
pub fn event(event: Event) -> (&'static str, Any) {
    match event {
        Event::Create {
            container,
            bundle,
            rootfs,
            io,
            checkpoint,
            pid,
        } => {
            let message = events::TaskCreate {
                container_id: container.to_string(),
                bundle,
                rootfs: rootfs.into_iter().map(proto_mount).collect(),
                io: Some(task_io(io)).into(),
                checkpoint,
                pid: pid.map_or(0, |pid| pid.get()),
                ..events::TaskCreate::default()
            };
            (topics::TASK_CREATE_EVENT_TOPIC, event_any(&message))
        }
        Event::Start { container, pid } => {
            let message = events::TaskStart {
                container_id: container.to_string(),
                pid: pid.get(),
                ..events::TaskStart::default()
            };
            (topics::TASK_START_EVENT_TOPIC, event_any(&message))
        }
        Event::Oom { container } => {
            let message = events::TaskOOM {
                container_id: container.to_string(),
                ..events::TaskOOM::default()
            };
            (topics::TASK_OOM_EVENT_TOPIC, event_any(&message))
        }
        Event::Exit {
            container,
            exec,
            exit,
        } => {
            let message = events::TaskExit {
                id: exec_id(exec, container.as_str()),
                container_id: container.to_string(),
                pid: exit.pid.get(),
                exit_status: exit.status.get().into(),
                exited_at: Some(timestamp(exit.exited_at)).into(),
                ..events::TaskExit::default()
            };
            (topics::TASK_EXIT_EVENT_TOPIC, event_any(&message))
        }
        Event::Delete {
            container,
            exit,
            pid,
        } => {
            let message = events::TaskDelete {
                container_id: container.to_string(),
                pid,
                exit_status: exit.map_or(0, |exit| exit.status.get().into()),
                exited_at: exit.map(|exit| timestamp(exit.exited_at)).into(),
                ..events::TaskDelete::default()
            };
            (topics::TASK_DELETE_EVENT_TOPIC, event_any(&message))
        }
        Event::ExecAdded { container, exec } => {
            let message = events::TaskExecAdded {
                container_id: container.to_string(),
                exec_id: exec.to_string(),
                ..events::TaskExecAdded::default()
            };
            (topics::TASK_EXEC_ADDED_EVENT_TOPIC, event_any(&message))
        }
        Event::ExecStarted {
            container,
            exec,
            pid,
        } => {
            let message = events::TaskExecStarted {
                container_id: container.to_string(),
                exec_id: exec.to_string(),
                pid: pid.get(),
                ..events::TaskExecStarted::default()
            };
            (topics::TASK_EXEC_STARTED_EVENT_TOPIC, event_any(&message))
        }
        Event::Paused { container } => {
            let message = events::TaskPaused {
                container_id: container.to_string(),
                ..events::TaskPaused::default()
            };
            (topics::TASK_PAUSED_EVENT_TOPIC, event_any(&message))
        }
        Event::Resumed { container } => {
            let message = events::TaskResumed {
                container_id: container.to_string(),
                ..events::TaskResumed::default()
            };
            (topics::TASK_RESUMED_EVENT_TOPIC, event_any(&message))
        }
        Event::Checkpointed {
            container,
            checkpoint,
        } => {
            let message = events::TaskCheckpointed {
                container_id: container.to_string(),
                checkpoint,
                ..events::TaskCheckpointed::default()
            };
            (topics::TASK_CHECKPOINTED_EVENT_TOPIC, event_any(&message))
        }
    }
}

fn task_io(io: TaskIo) -> events::TaskIO {
    events::TaskIO {
        stdin: io.stdin,
        stdout: io.stdout,
        stderr: io.stderr,
        terminal: io.terminal,
        ..events::TaskIO::default()
    }
}
