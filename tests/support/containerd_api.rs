//! What containerd tells through its API and `ctr` does not show: how and when a task ended. Two calls, by their protos
//! `api/services/tasks/v1` and `api/services/containers/v1`; of the messages, the fields that are asked for.

use std::path::Path;
use std::time::Duration;

use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

use super::node::Node;

/// How long a call may take: containerd gives each shim that it asks two seconds.
const LIMIT: Duration = Duration::from_secs(20);

/// What containerd says that a task is: `Status` in `api/types/task/task.proto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum TaskStatus {
    /// Its shim cannot say.
    Unknown = 0,
    /// Created.
    Created = 1,
    /// Its init runs.
    Running = 2,
    /// Its init has ended.
    Stopped = 3,
    /// It is frozen.
    Paused = 4,
    /// It is being frozen.
    Pausing = 5,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Timestamp {
    /// Unix seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Timestamp {
    /// Unix nanoseconds.
    pub fn unix_nanos(&self) -> i64 {
        self.seconds * 1_000_000_000 + i64::from(self.nanos)
    }
}

/// A task: `Process` in `api/types/task/task.proto`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Task {
    /// The container's id. `List` leaves the field of that name empty.
    #[prost(string, tag = "2")]
    pub id: String,
    /// Its init.
    #[prost(uint32, tag = "3")]
    pub pid: u32,
    /// What it is.
    #[prost(enumeration = "TaskStatus", tag = "4")]
    pub status: i32,
    /// How its init ended, where it has.
    #[prost(uint32, tag = "9")]
    pub exit_status: u32,
    /// When; Go's time zero where it has not.
    #[prost(message, optional, tag = "10")]
    pub exited_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListTasksResponse {
    #[prost(message, repeated, tag = "1")]
    tasks: Vec<Task>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetRequest {
    #[prost(string, tag = "1")]
    container_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetResponse {
    #[prost(message, optional, tag = "1")]
    process: Option<Task>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Container {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListContainersResponse {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<Container>,
}

impl Node {
    /// Every task.
    pub fn tasks(&self) -> Result<Vec<Task>, Status> {
        let path = "/containerd.services.tasks.v1.Tasks/List";
        Ok(self.call::<_, ListTasksResponse>(path, ())?.tasks)
    }

    /// The task of container `id`.
    pub fn task_of(&self, id: &str) -> Result<Option<Task>, Status> {
        let request = GetRequest {
            container_id: id.to_owned(),
        };
        match self.call::<_, GetResponse>("/containerd.services.tasks.v1.Tasks/Get", request) {
            Ok(answer) => Ok(answer.process),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// The ids of all containers.
    pub fn containers(&self) -> Result<Vec<String>, Status> {
        let path = "/containerd.services.containers.v1.Containers/List";
        let answer = self.call::<_, ListContainersResponse>(path, ())?;
        Ok(answer.containers.into_iter().map(|one| one.id).collect())
    }

    /// A call on a connection of its own: one that outlived a containerd would be refused by the next.
    pub fn call<Question, Reply>(
        &self,
        path: &'static str,
        question: Question,
    ) -> Result<Reply, Status>
    where
        Question: prost::Message + Default + 'static,
        Reply: prost::Message + Default + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let socket = self.dir.join("c");
        let answer = runtime.block_on(async {
            let call = unary(&socket, &self.namespace, path, question);
            tokio::time::timeout(LIMIT, call).await
        });
        answer.unwrap_or_else(|_| Err(Status::deadline_exceeded(path)))
    }
}

async fn unary<Question, Reply>(
    socket: &Path,
    namespace: &str,
    path: &'static str,
    question: Question,
) -> Result<Reply, Status>
where
    Question: prost::Message + Default + 'static,
    Reply: prost::Message + Default + 'static,
{
    let unavailable = |error: &dyn std::fmt::Display| Status::unavailable(error.to_string());
    let channel = Endpoint::from_shared(format!("unix://{}", socket.display()))
        .map_err(|error| unavailable(&error))?
        .connect()
        .await
        .map_err(|error| unavailable(&error))?;
    let mut client =
        tonic::client::Grpc::new(channel).max_decoding_message_size(usize::from(u16::MAX) << 10);
    client.ready().await.map_err(|error| unavailable(&error))?;
    let mut request = Request::new(question);
    let namespace = namespace
        .parse()
        .map_err(|_| Status::invalid_argument("namespace"))?;
    request
        .metadata_mut()
        .insert("containerd-namespace", namespace);
    let codec = tonic_prost::ProstCodec::<Question, Reply>::default();
    let answer = client.unary(request, PathAndQuery::from_static(path), codec);
    Ok(answer.await?.into_inner())
}
