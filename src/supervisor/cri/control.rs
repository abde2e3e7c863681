//! `outlive.v1.Control`: served by hand, since its messages are written by hand ([`crate::api::control`]).

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service as HttpService;

use super::{Service, command};
use crate::api::control::{KILL, KillRequest, KillResponse};
use crate::supervisor::error::Error;
use crate::supervisor::pod::container;
use crate::supervisor::shim_client::KillScope;
use crate::types::Signal;

/// How long a signal may take to be sent.
const KILL_LIMIT: Duration = Duration::from_secs(60);

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The service on the socket.
#[derive(Debug, Clone)]
pub struct ControlServer(pub Service);

impl NamedService for ControlServer {
    const NAME: &'static str = "outlive.v1.Control";
}

impl HttpService<http::Request<Body>> for ControlServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move {
            if request.uri().path() == KILL {
                let codec = ProstCodec::<KillResponse, KillRequest>::default();
                return Ok(Grpc::new(codec).unary(Kill(service), request).await);
            }
            let path = request.uri().path();
            let unknown = Status::unimplemented(format!("{path} is not supported"));
            Ok(unknown.into_http())
        })
    }
}

struct Kill(Service);

impl UnaryService<KillRequest> for Kill {
    type Response = KillResponse;
    type Future = Answer<Result<Response<KillResponse>, Status>>;

    fn call(&mut self, request: Request<KillRequest>) -> Self::Future {
        let (service, request) = (self.0.clone(), request.into_inner());
        Box::pin(command("Kill", KILL_LIMIT, async move {
            let signal = Signal::new(request.signal);
            let signal = signal.ok_or_else(|| Error::invalid("signal", "must be 1 to 64"))?;
            let scope = match request.all {
                true => KillScope::All,
                false => KillScope::Init,
            };
            let found = service.recovered(&request.container_id).await?;
            container::kill(&found, signal, scope).await?;
            Ok(KillResponse {})
        }))
    }
}
