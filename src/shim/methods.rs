//! The service's methods as ttrpc calls them.
//!
//! The generated bindings are not used: they answer a request that cannot be decoded, and every error that is no
//! status, with debug text. And a call that changes something must not end with its connection: ttrpc drops the
//! handlers of a lost connection wherever they are (`ttrpc::asynchronous::server`), which would leave a container that
//! nobody has recorded. So those run in a task of their own, and the handler only waits for that.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc::asynchronous::{
    MethodHandler, Service as TtrpcService, TtrpcContext,
};
use containerd_shim_protos::ttrpc::proto::{Code, Request, Response, Status};
use containerd_shim_protos::ttrpc::{self, get_status};
use log::{debug, info};
use tokio::time::Instant;

use super::error::ShimError;
use super::service::Service;

/// Both names of the task service. ttrpc-rust answers an unknown service otherwise than containerd's downgrade from v3
/// to v2 expects, so both must be there.
pub const SERVICE_NAMES: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];

/// Whether a call goes on when its connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Survival {
    /// It changes something and must be finished.
    Finishes,
    /// It only tells something to somebody who is gone.
    Ends,
}

tokio::task_local! {
    static DEADLINE: Option<Instant>;
}

/// When the caller of the method under way gives up, where it has said so; to be asked from the method itself.
#[must_use]
pub fn deadline() -> Option<Instant> {
    DEADLINE.try_with(|deadline| *deadline).ok().flatten()
}

/// The deadline in a request that has just come (ttrpc's `timeout_nano`; zero is none).
fn deadline_of(request: &Request) -> Option<Instant> {
    let limit = u64::try_from(request.timeout_nano)
        .ok()
        .filter(|nanos| *nanos > 0)?;
    Instant::now().checked_add(Duration::from_nanos(limit))
}

struct Method<F> {
    service: Arc<Service>,
    name: &'static str,
    survival: Survival,
    call: F,
}

#[async_trait]
trait Call: Send + Sync {
    async fn call(
        &self,
        service: Arc<Service>,
        request: &Request,
        survival: Survival,
    ) -> Result<Vec<u8>, Status>;
}

struct Unary<Req, F>(F, std::marker::PhantomData<fn(Req)>);

#[async_trait]
impl<Req, Resp, F, Fut> Call for Unary<Req, F>
where
    Req: Message,
    Resp: Message,
    F: Fn(Arc<Service>, Req) -> Fut + Send + Sync,
    Fut: Future<Output = Result<Resp, ShimError>> + Send + 'static,
{
    async fn call(
        &self,
        service: Arc<Service>,
        request: &Request,
        survival: Survival,
    ) -> Result<Vec<u8>, Status> {
        let deadline = deadline_of(request);
        let request = Req::parse_from_bytes(&request.payload)
            .map_err(|error| get_status(Code::INVALID_ARGUMENT, format!("request: {error}")))?;
        let work = DEADLINE.scope(deadline, (self.0)(service, request));
        let answer = match survival {
            Survival::Ends => work.await,
            Survival::Finishes => tokio::spawn(work).await.unwrap_or(Err(ShimError::Worker {
                operation: "the call",
            })),
        };
        let response = answer.map_err(|error| error.status())?;
        response
            .write_to_bytes()
            .map_err(|error| get_status(Code::INTERNAL, format!("response: {error}")))
    }
}

#[async_trait]
impl MethodHandler for Method<Box<dyn Call>> {
    async fn handler(&self, _: TtrpcContext, request: Request) -> ttrpc::Result<Response> {
        let mut response = Response::new();
        match self
            .call
            .call(self.service.clone(), &request, self.survival)
            .await
        {
            Ok(payload) => {
                response.set_status(get_status(Code::OK, ""));
                response.payload = payload;
            }
            Err(status) => {
                // What a caller may do about it is in the status; here it is for whoever reads the shim's log.
                match self.survival {
                    Survival::Finishes => info!(method = self.name; "{}", status.message()),
                    Survival::Ends => debug!(method = self.name; "{}", status.message()),
                }
                response.set_status(status);
            }
        }
        Ok(response)
    }
}

/// The service of the shim's own calls: `ReopenLogs` ([`super::reopen`]), and `StartedAt`, of which containerd's
/// `State` says nothing. It tells when a process was started, without asking the OCI runtime:
///
/// ```text
/// message StartedAtRequest { string id = 1; string exec_id = 2; }      exec_id: empty for init
/// response: google.protobuf.Timestamp                                 zero where it was not started
/// ```
pub const OWN_SERVICE_NAME: &str = "outlive.shim.v1.Shim";

/// The task service under both of its names, and the shim's own.
#[must_use]
pub fn services(service: &Arc<Service>) -> HashMap<String, TtrpcService> {
    let named = |name: &str, methods: Vec<(&'static str, Handler)>| {
        let methods = methods
            .into_iter()
            .map(|(method, handler)| (method.to_owned(), handler))
            .collect();
        let streams = HashMap::new();
        (name.to_owned(), TtrpcService { methods, streams })
    };
    SERVICE_NAMES
        .iter()
        .map(|name| named(name, methods(service)))
        .chain([named(OWN_SERVICE_NAME, own_methods(service))])
        .collect()
}

type Handler = Box<dyn MethodHandler + Send + Sync>;

fn methods(service: &Arc<Service>) -> Vec<(&'static str, Handler)> {
    use Survival::{Ends, Finishes};
    vec![
        method(service, "State", Ends, Service::state),
        method(service, "Create", Finishes, Service::create),
        method(service, "Start", Finishes, Service::start),
        method(service, "Delete", Finishes, Service::delete),
        method(service, "Pids", Ends, Service::pids),
        method(service, "Pause", Finishes, Service::pause),
        method(service, "Resume", Finishes, Service::resume),
        method(service, "Checkpoint", Finishes, Service::checkpoint),
        method(service, "Kill", Finishes, Service::kill),
        method(service, "Exec", Finishes, Service::exec),
        method(service, "ResizePty", Finishes, Service::resize_pty),
        method(service, "CloseIO", Finishes, Service::close_io),
        method(service, "Update", Finishes, Service::update),
        method(service, "Wait", Ends, Service::wait),
        method(service, "Stats", Ends, Service::stats),
        method(service, "Connect", Ends, Service::connect),
        method(service, "Shutdown", Finishes, Service::shutdown),
    ]
}

fn own_methods(service: &Arc<Service>) -> Vec<(&'static str, Handler)> {
    use Survival::{Ends, Finishes};
    vec![
        method(service, "ReopenLogs", Finishes, Service::reopen_logs),
        method(service, "StartedAt", Ends, Service::started_at),
    ]
}

fn method<Req, Resp, F, Fut>(
    service: &Arc<Service>,
    name: &'static str,
    survival: Survival,
    call: F,
) -> (&'static str, Handler)
where
    Req: Message,
    Resp: Message,
    F: Fn(Arc<Service>, Req) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Resp, ShimError>> + Send + 'static,
{
    let call: Box<dyn Call> = Box::new(Unary(call, std::marker::PhantomData));
    (
        name,
        Box::new(Method {
            service: service.clone(),
            name,
            survival,
            call,
        }),
    )
}
