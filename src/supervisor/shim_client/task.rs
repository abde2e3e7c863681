//! One task behind a connection: what the calls share.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp as ProtoTimestamp;
use log::warn;
use tonic::Code;

use super::call::{self, Limit, TaskService};
use super::connect::{bounded, local};
use super::error::ShimError;
use super::{TaskReport, foreign, shim_log};
use crate::bundle::Bundle;
use crate::types::event::TaskIo;
use crate::types::{ContainerId, Pid};

/// Who writes the container's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The shim, which is ours.
    Ours,
    /// The supervisor, from fifos.
    Foreign,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) id: ContainerId,
    pub(super) bundle: Bundle,
    pub(super) service: TaskService,
    /// What the shim is, once that matters.
    pub(super) kind: OnceLock<Kind>,
    /// Init's pid, which `Wait` does not tell; 0 until it is known.
    pub(super) pid: AtomicU32,
    #[expect(dead_code, reason = "it reads for as long as it is kept")]
    pub(super) log: Option<shim_log::ShimLog>,
}

impl Inner {
    pub(super) fn named(&self) -> api::StateRequest {
        api::StateRequest {
            id: self.id.to_string(),
            ..api::StateRequest::default()
        }
    }

    /// A call that answers nothing.
    pub(super) async fn order(
        &self,
        method: &'static str,
        request: &impl containerd_shim_protos::protobuf::Message,
        within: Duration,
    ) -> Result<(), ShimError> {
        let done = self
            .service
            .call::<api::Empty>(method, request, Limit::Within(within));
        done.await.map(drop)
    }

    pub(super) async fn state(&self, limit: Limit) -> Result<TaskReport, ShimError> {
        let state: api::StateResponse = self.service.call("State", &self.named(), limit).await?;
        self.pid.store(state.pid, Ordering::Relaxed);
        Ok(TaskReport {
            status: call::task_status(&state)?,
            pid: Pid::new(state.pid),
        })
    }

    pub(super) fn learn_pid(&self, call: &'static str, pid: u32) -> Result<Pid, ShimError> {
        self.pid.store(pid, Ordering::Relaxed);
        Pid::new(pid).ok_or(ShimError::Refused {
            call,
            code: Code::Internal,
            message: "the task has no pid".to_owned(),
        })
    }

    /// Asks the shim what it is, once: whether it knows our own service.
    pub(super) async fn kind(&self) -> Result<Kind, ShimError> {
        if let Some(kind) = self.kind.get() {
            return Ok(*kind);
        }
        let request = self.named();
        let answer = self.service.call_own("StartedAt", &request).await;
        let kind = match answer.map(|at: Option<ProtoTimestamp>| at) {
            Ok(Some(_)) => Kind::Ours,
            Ok(None) => Kind::Foreign,
            Err(error) if error.is_not_found() => Kind::Ours,
            Err(error) => return Err(error),
        };
        Ok(*self.kind.get_or_init(|| kind))
    }

    /// Sees to it that the log of another shim's task is written; gives the stdio to tell the shim.
    pub(super) async fn prepare_log(&self, io: &TaskIo) -> Result<TaskIo, ShimError> {
        let (bundle, asked) = (self.bundle.clone(), io.clone());
        let told = local("Create", "make the fifos", move || {
            foreign::prepare(&bundle, &asked)
        })
        .await?;
        if let Err(error) = self.write_log().await {
            self.end_log().await;
            return Err(error);
        }
        Ok(told)
    }

    pub(super) async fn write_log(&self) -> Result<(), ShimError> {
        bounded("Create", "open the log", foreign::attach(&self.bundle)).await?;
        let (gone, bundle) = (self.service.line().closed(), self.bundle.clone());
        // A dead shim writes nothing any more: what it has left is written, and the log closed.
        drop(tokio::spawn(async move {
            gone.await;
            drop(foreign::finish(&bundle).await);
        }));
        Ok(())
    }

    pub(super) async fn end_log(&self) {
        if self.kind.get() == Some(&Kind::Foreign) {
            end_log(&self.id, &self.bundle).await;
        }
    }
}

pub(super) async fn end_log(id: &ContainerId, bundle: &Bundle) {
    let finished = bounded("Delete", "close the log", foreign::finish(bundle)).await;
    let bundle = bundle.clone();
    let removed = local("Delete", "remove the fifos", move || {
        foreign::remove(&bundle);
        Ok(())
    });
    for result in [finished, removed.await] {
        if let Err(error) = result {
            warn!(container = id.as_str(); "{error}");
        }
    }
}
