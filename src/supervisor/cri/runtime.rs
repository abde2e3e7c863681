//! `runtime.v1.RuntimeService`.

use std::time::Duration;

use async_trait::async_trait;
use tonic::{Request, Response, Status};

use super::convert::{self, Selection};
use super::{Service, command, info, present, unsupported};
use crate::api::cri;
use crate::supervisor::crash;
use crate::supervisor::error::Error;
use crate::supervisor::events::EventStream;
use crate::supervisor::pod::{container, sandbox};
use crate::types::Timestamp;

/// For what asks a shim a few things.
const SHORT: Duration = Duration::from_secs(60);
/// For what starts programs: shims, OCI runtimes, network plugins; each has a deadline of its own within this.
const LONG: Duration = Duration::from_secs(240);
/// The longest grace and the longest ExecSync: whoever asks for more gets this.
const DAY: Duration = Duration::from_secs(86_400);

type Answer<T> = Result<Response<T>, Status>;

/// CRI's seconds; zero is none.
fn seconds(field: &'static str, value: i64) -> Result<Duration, Error> {
    u64::try_from(value)
        .map(|value| Duration::from_secs(value).min(DAY))
        .map_err(|_| Error::invalid(field, "must not be negative"))
}

#[async_trait]
impl cri::runtime_service_server::RuntimeService for Service {
    type GetContainerEventsStream = EventStream;

    async fn version(&self, _: Request<cri::VersionRequest>) -> Answer<cri::VersionResponse> {
        Ok(Response::new(info::version()))
    }

    async fn status(&self, request: Request<cri::StatusRequest>) -> Answer<cri::StatusResponse> {
        let verbose = request.into_inner().verbose;
        let status = info::status(&self.supervisor, verbose).await;
        Ok(Response::new(status))
    }

    async fn runtime_config(
        &self,
        _: Request<cri::RuntimeConfigRequest>,
    ) -> Answer<cri::RuntimeConfigResponse> {
        Ok(Response::new(cri::RuntimeConfigResponse {
            linux: Some(cri::LinuxRuntimeConfiguration {
                cgroup_driver: cri::CgroupDriver::Cgroupfs.into(),
            }),
        }))
    }

    async fn update_runtime_config(
        &self,
        _: Request<cri::UpdateRuntimeConfigRequest>,
    ) -> Answer<cri::UpdateRuntimeConfigResponse> {
        // The one thing in it is the node's pod CIDR, which is the network configuration's here.
        Ok(Response::new(cri::UpdateRuntimeConfigResponse {}))
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<cri::RunPodSandboxRequest>,
    ) -> Answer<cri::RunPodSandboxResponse> {
        let (supervisor, request) = (self.supervisor.clone(), request.into_inner());
        command("RunPodSandbox", LONG, async move {
            let id = sandbox::run(&supervisor, request).await?;
            Ok(cri::RunPodSandboxResponse {
                pod_sandbox_id: id.to_string(),
            })
        })
        .await
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<cri::StopPodSandboxRequest>,
    ) -> Answer<cri::StopPodSandboxResponse> {
        let (service, id) = (self.clone(), request.into_inner().pod_sandbox_id);
        command("StopPodSandbox", LONG, async move {
            if let Some(pod) = present(service.recovered_pod(&id).await)? {
                sandbox::stop(&service.supervisor, &pod).await?;
            }
            Ok(cri::StopPodSandboxResponse {})
        })
        .await
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<cri::RemovePodSandboxRequest>,
    ) -> Answer<cri::RemovePodSandboxResponse> {
        let (service, id) = (self.clone(), request.into_inner().pod_sandbox_id);
        command("RemovePodSandbox", LONG, async move {
            if let Some(pod) = present(service.recovered_pod(&id).await)? {
                sandbox::remove(&service.supervisor, &pod).await?;
            }
            Ok(cri::RemovePodSandboxResponse {})
        })
        .await
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<cri::PodSandboxStatusRequest>,
    ) -> Answer<cri::PodSandboxStatusResponse> {
        let request = request.into_inner();
        let pod = self.pod(&request.pod_sandbox_id)?;
        let containers = self.supervisor.store.containers_of(pod.id());
        let containers = containers.iter();
        Ok(Response::new(cri::PodSandboxStatusResponse {
            status: Some(convert::pod_status(&pod)),
            info: match request.verbose {
                true => info::pod(&self.supervisor, &pod),
                false => Default::default(),
            },
            containers_statuses: containers
                .map(|container| convert::container_status(container))
                .collect(),
            timestamp: convert::nanos(Timestamp::now()),
        }))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<cri::ListPodSandboxRequest>,
    ) -> Answer<cri::ListPodSandboxResponse> {
        let selection = Selection::from(request.into_inner().filter);
        let pods = self.supervisor.store.pods().into_iter();
        let mut items: Vec<_> = pods.map(|pod| convert::pod(&pod)).collect();
        items.retain(|line| selection.has_pod(line));
        Ok(Response::new(cri::ListPodSandboxResponse { items }))
    }

    async fn create_container(
        &self,
        request: Request<cri::CreateContainerRequest>,
    ) -> Answer<cri::CreateContainerResponse> {
        let (service, mut request) = (self.clone(), request.into_inner());
        command("CreateContainer", LONG, async move {
            let pod = service.pod(&request.pod_sandbox_id)?;
            request.pod_sandbox_id = pod.id().to_string();
            let _no_image_goes = service.making.read().await;
            let id = container::create(&service.supervisor, request).await?;
            Ok(cri::CreateContainerResponse {
                container_id: id.to_string(),
            })
        })
        .await
    }

    async fn start_container(
        &self,
        request: Request<cri::StartContainerRequest>,
    ) -> Answer<cri::StartContainerResponse> {
        let (service, id) = (self.clone(), request.into_inner().container_id);
        command("StartContainer", LONG, async move {
            let found = service.recovered(&id).await?;
            container::start(&service.supervisor, &found).await?;
            Ok(cri::StartContainerResponse {})
        })
        .await
    }

    async fn stop_container(
        &self,
        request: Request<cri::StopContainerRequest>,
    ) -> Answer<cri::StopContainerResponse> {
        let (service, request) = (self.clone(), request.into_inner());
        let grace = seconds("timeout", request.timeout)?;
        command("StopContainer", grace + LONG, async move {
            if let Some(found) = present(service.recovered(&request.container_id).await)? {
                container::stop(&service.supervisor, &found, grace).await?;
            }
            Ok(cri::StopContainerResponse {})
        })
        .await
    }

    async fn remove_container(
        &self,
        request: Request<cri::RemoveContainerRequest>,
    ) -> Answer<cri::RemoveContainerResponse> {
        let (service, id) = (self.clone(), request.into_inner().container_id);
        command("RemoveContainer", LONG, async move {
            if let Some(found) = present(service.recovered(&id).await)? {
                container::remove(&service.supervisor, &found).await?;
            }
            Ok(cri::RemoveContainerResponse {})
        })
        .await
    }

    async fn list_containers(
        &self,
        request: Request<cri::ListContainersRequest>,
    ) -> Answer<cri::ListContainersResponse> {
        let selection = Selection::from(request.into_inner().filter);
        let all = self.supervisor.store.containers();
        let mut containers: Vec<_> = all.iter().map(|one| convert::container(one)).collect();
        containers.retain(|line| selection.has_container(line));
        Ok(Response::new(cri::ListContainersResponse { containers }))
    }

    async fn container_status(
        &self,
        request: Request<cri::ContainerStatusRequest>,
    ) -> Answer<cri::ContainerStatusResponse> {
        let request = request.into_inner();
        let found = self.container(&request.container_id)?;
        Ok(Response::new(cri::ContainerStatusResponse {
            status: Some(convert::container_status(&found)),
            info: match request.verbose {
                true => info::container(&self.supervisor, &found).await,
                false => Default::default(),
            },
        }))
    }

    async fn update_container_resources(
        &self,
        request: Request<cri::UpdateContainerResourcesRequest>,
    ) -> Answer<cri::UpdateContainerResourcesResponse> {
        let (service, request) = (self.clone(), request.into_inner());
        command("UpdateContainerResources", SHORT, async move {
            if request.windows.is_some() {
                return Err(Error::Unsupported("windows".to_owned()));
            }
            if !request.annotations.is_empty() {
                return Err(Error::Unsupported("annotations".to_owned()));
            }
            let linux = request.linux;
            let linux = linux.ok_or_else(|| Error::invalid("linux", "must be set"))?;
            let found = service.recovered(&request.container_id).await?;
            container::update(&service.supervisor, &found, linux).await?;
            Ok(cri::UpdateContainerResourcesResponse {})
        })
        .await
    }

    async fn reopen_container_log(
        &self,
        request: Request<cri::ReopenContainerLogRequest>,
    ) -> Answer<cri::ReopenContainerLogResponse> {
        let (service, id) = (self.clone(), request.into_inner().container_id);
        command("ReopenContainerLog", SHORT, async move {
            let found = service.recovered(&id).await?;
            if !crash::has_defect("reopen") {
                container::reopen_log(&found).await?;
            }
            Ok(cri::ReopenContainerLogResponse {})
        })
        .await
    }

    async fn exec_sync(
        &self,
        request: Request<cri::ExecSyncRequest>,
    ) -> Answer<cri::ExecSyncResponse> {
        let (service, request) = (self.clone(), request.into_inner());
        let timeout = seconds("timeout", request.timeout)?;
        let timeout = (!timeout.is_zero()).then_some(timeout);
        let limit = timeout.unwrap_or(DAY) + SHORT;
        command("ExecSync", limit, async move {
            let found = service.recovered(&request.container_id).await?;
            if request.cmd.is_empty() {
                return Err(Error::invalid("cmd", "must not be empty"));
            }
            let output =
                container::exec_sync(&service.supervisor, &found, request.cmd, timeout).await?;
            Ok(cri::ExecSyncResponse {
                stdout: output.stdout,
                stderr: output.stderr,
                exit_code: output.exit.status.get().into(),
            })
        })
        .await
    }

    async fn container_stats(
        &self,
        request: Request<cri::ContainerStatsRequest>,
    ) -> Answer<cri::ContainerStatsResponse> {
        let found = self.container(&request.into_inner().container_id)?;
        let stats = self.stats_of(vec![found]).await?;
        Ok(Response::new(cri::ContainerStatsResponse {
            stats: stats.into_iter().next(),
        }))
    }

    async fn list_container_stats(
        &self,
        request: Request<cri::ListContainerStatsRequest>,
    ) -> Answer<cri::ListContainerStatsResponse> {
        let selection = Selection::from(request.into_inner().filter);
        let mut all = self.supervisor.store.containers();
        all.retain(|one| selection.has_container(&convert::container(one)));
        let stats = self.stats_of(all).await?;
        Ok(Response::new(cri::ListContainerStatsResponse { stats }))
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<cri::PodSandboxStatsRequest>,
    ) -> Answer<cri::PodSandboxStatsResponse> {
        let found = self.pod(&request.into_inner().pod_sandbox_id)?;
        let stats = self.pod_stats_of(&found).await?;
        Ok(Response::new(cri::PodSandboxStatsResponse {
            stats: Some(stats),
        }))
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<cri::ListPodSandboxStatsRequest>,
    ) -> Answer<cri::ListPodSandboxStatsResponse> {
        let selection = Selection::from(request.into_inner().filter);
        let mut stats = Vec::new();
        for pod in self.supervisor.store.pods() {
            if selection.has_pod(&convert::pod(&pod)) {
                stats.push(self.pod_stats_of(&pod).await?);
            }
        }
        Ok(Response::new(cri::ListPodSandboxStatsResponse { stats }))
    }

    async fn get_container_events(
        &self,
        _: Request<cri::GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        self.supervisor.events.subscribe().map(Response::new)
    }

    async fn exec(&self, _: Request<cri::ExecRequest>) -> Answer<cri::ExecResponse> {
        Err(unsupported("Exec"))
    }

    async fn attach(&self, _: Request<cri::AttachRequest>) -> Answer<cri::AttachResponse> {
        Err(unsupported("Attach"))
    }

    async fn port_forward(
        &self,
        _: Request<cri::PortForwardRequest>,
    ) -> Answer<cri::PortForwardResponse> {
        Err(unsupported("PortForward"))
    }

    async fn checkpoint_container(
        &self,
        _: Request<cri::CheckpointContainerRequest>,
    ) -> Answer<cri::CheckpointContainerResponse> {
        Err(unsupported("CheckpointContainer"))
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<cri::ListMetricDescriptorsRequest>,
    ) -> Answer<cri::ListMetricDescriptorsResponse> {
        Err(unsupported("ListMetricDescriptors"))
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<cri::ListPodSandboxMetricsRequest>,
    ) -> Answer<cri::ListPodSandboxMetricsResponse> {
        Err(unsupported("ListPodSandboxMetrics"))
    }
}
