//! The connection to the supervisor: every call with a deadline, and errors that name their subject.

use std::future::Future;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status, Streaming};

use super::args::Global;
use super::error::Error;
use crate::api::control::{KILL, KillRequest, KillResponse};
use crate::api::cri;
use crate::api::cri::image_service_client::ImageServiceClient;
use crate::api::cri::runtime_service_client::RuntimeServiceClient;
use crate::types::Signal;

/// The most that one answer may have: an exec's output is one.
const MAX_ANSWER: usize = 64 << 20;

/// Who gets a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillScope {
    /// The container's init.
    Init,
    /// Every process of the container.
    All,
}

/// A connection. Clones share it; it connects again by itself when the supervisor was started anew.
#[derive(Debug, Clone)]
pub struct Client {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    channel: Channel,
    timeout: Duration,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// [`Error::Unreachable`] says what to do.
    pub async fn connect(global: &Global) -> Result<Self, Error> {
        let address = global.address();
        let path = address.strip_prefix("unix://").unwrap_or(address);
        if !path.starts_with('/') {
            return Err(Error::Usage(format!(
                "--address {address:?} must be unix:// and an absolute path"
            )));
        }
        let endpoint = Endpoint::from_shared(format!("unix://{path}"))
            .map_err(|error| unreachable(address, error))?;
        let connecting = tokio::time::timeout(global.call_timeout(), endpoint.connect());
        let channel = match connecting.await {
            Ok(connected) => connected.map_err(|error| unreachable(address, error))?,
            Err(_) => {
                return Err(Error::Deadline {
                    operation: format!("connect to {address}"),
                    after: global.call_timeout(),
                });
            }
        };
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_ANSWER),
            images: ImageServiceClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER),
            channel,
            timeout: global.call_timeout(),
        })
    }

    /// The runtime service.
    pub fn runtime(&self) -> RuntimeServiceClient<Channel> {
        self.runtime.clone()
    }

    /// The image service.
    pub fn images(&self) -> ImageServiceClient<Channel> {
        self.images.clone()
    }

    /// Waits for a call, at most as long as `--timeout` allows.
    ///
    /// # Errors
    /// [`Error::Call`] and [`Error::Deadline`] with `operation`.
    pub async fn call<T>(
        &self,
        operation: impl Into<String>,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        self.call_within(operation, Some(self.timeout), call).await
    }

    /// Waits for a call that may take longer than most by `extra`.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_longer<T>(
        &self,
        operation: impl Into<String>,
        extra: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        self.call_within(operation, Some(self.timeout + extra), call)
            .await
    }

    /// Waits for a call at most for `limit`; `None` for as long as it takes.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_within<T>(
        &self,
        operation: impl Into<String>,
        limit: Option<Duration>,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        let answer = match limit {
            None => call.await,
            Some(limit) => match tokio::time::timeout(limit, call).await {
                Ok(answer) => answer,
                Err(_) => {
                    return Err(Error::Deadline {
                        operation: operation.into(),
                        after: limit,
                    });
                }
            },
        };
        answer
            .map(Response::into_inner)
            .map_err(|status| Error::Call {
                operation: operation.into(),
                status: Box::new(status),
            })
    }

    /// All containers that `filter` lets through.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn containers(
        &self,
        filter: Option<cri::ContainerFilter>,
    ) -> Result<Vec<cri::Container>, Error> {
        let request = cri::ListContainersRequest { filter };
        let mut runtime = self.runtime();
        let answer = self.call("list containers", runtime.list_containers(request));
        Ok(answer.await?.containers)
    }

    /// All pods that `filter` lets through.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn pods(
        &self,
        filter: Option<cri::PodSandboxFilter>,
    ) -> Result<Vec<cri::PodSandbox>, Error> {
        let request = cri::ListPodSandboxRequest { filter };
        let mut runtime = self.runtime();
        let answer = self.call("list pods", runtime.list_pod_sandbox(request));
        Ok(answer.await?.items)
    }

    /// A container's status.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn container_status(&self, id: &str) -> Result<cri::ContainerStatus, Error> {
        let request = cri::ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: false,
        };
        let mut runtime = self.runtime();
        let answer = self.call(format!("container {id}"), runtime.container_status(request));
        Ok(answer.await?.status.unwrap_or_default())
    }

    /// A pod's status.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn pod_status(&self, id: &str) -> Result<cri::PodSandboxStatus, Error> {
        let request = cri::PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose: false,
        };
        let mut runtime = self.runtime();
        let answer = self.call(format!("pod {id}"), runtime.pod_sandbox_status(request));
        Ok(answer.await?.status.unwrap_or_default())
    }

    /// Stops and removes a pod with its containers.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn remove_pod(&self, id: &str) -> Result<(), Error> {
        let stop = cri::StopPodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        let mut runtime = self.runtime();
        self.call(format!("stop pod {id}"), runtime.stop_pod_sandbox(stop))
            .await?;
        let remove = cri::RemovePodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        self.call(
            format!("remove pod {id}"),
            runtime.remove_pod_sandbox(remove),
        )
        .await?;
        Ok(())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn kill(&self, id: &str, signal: Signal, scope: KillScope) -> Result<(), Error> {
        let request = KillRequest {
            container_id: id.to_owned(),
            signal: signal.get().into(),
            all: scope == KillScope::All,
        };
        let mut service = tonic::client::Grpc::new(self.channel.clone());
        let call = async {
            service
                .ready()
                .await
                .map_err(|error| Status::from_error(Box::new(error)))?;
            let path = tonic::codegen::http::uri::PathAndQuery::from_static(KILL);
            let codec = tonic_prost::ProstCodec::<KillRequest, KillResponse>::default();
            service
                .unary(tonic::Request::new(request), path, codec)
                .await
        };
        self.call(format!("kill container {id}"), call).await?;
        Ok(())
    }

    /// What happens to containers and pods from now on.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn events(&self) -> Result<Streaming<cri::ContainerEventResponse>, Error> {
        let mut runtime = self.runtime();
        let call = runtime.get_container_events(cri::GetEventsRequest::default());
        self.call("events", call).await
    }
}

/// Whether an answer says that there is no such container or pod (any more).
pub fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Call { status, .. } if status.code() == Code::NotFound)
}

fn unreachable(address: &str, error: tonic::transport::Error) -> Error {
    use std::io::ErrorKind;
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let mut kind = None;
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            kind = Some(error.kind());
        }
        cause = error.source();
    }
    let remedy = match kind {
        Some(ErrorKind::NotFound) => {
            "there is no such socket; is `outlive serve` running? start it (systemctl start outlive), or name its \
             socket with --address"
        }
        Some(ErrorKind::PermissionDenied) => {
            "the socket is its owner's alone; run this as that user, as a rule root"
        }
        Some(ErrorKind::ConnectionRefused) => {
            "the socket is there, but nobody listens; `outlive serve` has ended, start it again (containers go on \
             meanwhile)"
        }
        _ => "is `outlive serve` running?",
    };
    Error::Unreachable {
        address: address.to_owned(),
        remedy,
        is_absent: matches!(
            kind,
            Some(ErrorKind::NotFound | ErrorKind::ConnectionRefused)
        ),
        source: Box::new(error),
    }
}
