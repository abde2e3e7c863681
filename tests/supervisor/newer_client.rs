//! Requests with fields that are newer than the protocol of this version: refused or told in the log, never dropped in
//! silence.

use std::path::PathBuf;

use outlive::api::cri;
use prost::Message as _;
use prost::bytes::{Buf as _, BufMut as _};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};

use crate::life::ready;
use crate::support::supervisor::Supervisor;
use crate::support::supervisor_calls::listed;

/// Messages as bytes.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length).to_vec()))
    }
}

fn call(supervisor: &Supervisor, path: &'static str, message: Vec<u8>) -> Result<Vec<u8>, Status> {
    let answer = async {
        let address = format!("unix://{}", supervisor.socket().display());
        let channel = tonic::transport::Endpoint::from_shared(address).unwrap();
        let mut client = Grpc::new(channel.connect_lazy());
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static(path);
        client.unary(Request::new(message), path, Raw).await
    };
    supervisor.wait(answer).map(tonic::Response::into_inner)
}

/// A field of the wire type "length", one level around what is in it.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_key(
        number,
        prost::encoding::WireType::LengthDelimited,
        &mut bytes,
    );
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    [&bytes, content].concat()
}

fn create(supervisor: &Supervisor, pod: &str, config: &[u8]) -> Result<Vec<u8>, Status> {
    let known = cri::CreateContainerRequest {
        pod_sandbox_id: pod.to_owned(),
        config: Some(supervisor.container_config("c", &["/bin/true"])),
        sandbox_config: Some(supervisor.pod_config("pod")),
    };
    // A message that comes twice is merged (protobuf.dev, "Encoding", "Last One Wins").
    let message = [known.encode_to_vec(), field(2, config)].concat();
    call(
        supervisor,
        "/runtime.v1.RuntimeService/CreateContainer",
        message,
    )
}

#[test]
fn a_newer_field_that_changes_a_container_is_refused_by_its_name_or_number() {
    let (supervisor, pod) = ready();
    // 18: stop_signal SIGUSR1 as a varint, of CRI 0.33.
    let stop_signal = [0x90, 0x01, 10];
    let sub_path = field(7, &field(10, b"inner"));
    let later = field(70, b"x");
    for (config, named) in [
        (&stop_signal[..], "config.stop_signal"),
        (&sub_path, "config.mounts.image_sub_path"),
        (&later, "config: field number 70"),
    ] {
        let refused = create(&supervisor, &pod, config).unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
        assert!(refused.message().contains(named), "{refused}");
    }
    assert!(listed(&supervisor).is_empty());
}

#[test]
fn a_newer_field_that_informs_is_told_in_the_log_once() {
    let (supervisor, pod) = ready();
    // A further field of ImageSpec, as image_ref of CRI 0.36 is one, which kubelet sends whatever the runtime is.
    let image_ref = field(2, &field(20, b"sha256:aa"));
    for _ in 0..2 {
        let answer = create(&supervisor, &pod, &image_ref).unwrap();
        let id = cri::CreateContainerResponse::decode(&*answer)
            .unwrap()
            .container_id;
        supervisor.note(&id);
        crate::support::supervisor_calls::remove(&supervisor, &id).unwrap();
    }
    let version = call(
        &supervisor,
        "/runtime.v1.RuntimeService/Version",
        field(9, b"x"),
    );
    assert!(version.is_ok(), "{version:?}");
    let log = std::fs::read_to_string(PathBuf::from(supervisor.dir()).join("log")).unwrap();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("newer than this version's protocol"))
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].contains("call=CreateContainer field=2.2.20"),
        "{lines:?}"
    );
    assert!(lines[1].contains("call=Version field=9"), "{lines:?}");
}
