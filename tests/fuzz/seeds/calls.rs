//! Requests of the shim's methods.

use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::types::mount::Mount as ProtoMount;

use crate::properties::METHODS;

pub fn shim_call() -> Vec<Vec<u8>> {
    let simple = api::StateRequest {
        id: "task-1".to_owned(),
        exec_id: "exec-1".to_owned(),
        ..Default::default()
    };
    let simple = simple.write_to_bytes().unwrap();
    let init = api::PidsRequest {
        id: "task-1".to_owned(),
        ..Default::default()
    };
    let init = init.write_to_bytes().unwrap();
    let index = |method: &str| {
        let index = METHODS.iter().position(|known| *known == method);
        u8::try_from(index.unwrap()).unwrap()
    };
    let with = |method: &str, payload: Vec<u8>| [&[index(method)][..], &payload].concat();
    let every = METHODS
        .iter()
        .flat_map(|method| [with(method, simple.clone()), with(method, init.clone())]);
    let more = [
        with("Create", create().write_to_bytes().unwrap()),
        with("Exec", exec(r#"{"args":["sh"],"cwd":"/"}"#)),
        with("Exec", exec(r#"{"args":[]}"#)),
        with("Exec", exec(r#"{"cwd":"/"}"#)),
        with("Kill", kill().write_to_bytes().unwrap()),
        with("ResizePty", resize().write_to_bytes().unwrap()),
        with("CloseIO", close_io().write_to_bytes().unwrap()),
        with("Update", update().write_to_bytes().unwrap()),
        with("Checkpoint", checkpoint().write_to_bytes().unwrap()),
    ];
    every.chain(more).collect()
}

fn any(type_url: &str, value: &[u8]) -> MessageField<Any> {
    MessageField::some(Any {
        type_url: type_url.to_owned(),
        value: value.to_vec(),
        ..Default::default()
    })
}

fn create() -> api::CreateTaskRequest {
    // runtimeoptions.v1.Options: its third field is TOML.
    let toml = b"binary_name = \"crun\"\ndrain_seconds = 3\n";
    let length = u8::try_from(toml.len()).unwrap();
    let options = [&[3 << 3 | 2, length], &toml[..]].concat();
    api::CreateTaskRequest {
        id: "task-1".to_owned(),
        bundle: "/tmp".to_owned(),
        rootfs: vec![ProtoMount {
            type_: "overlay".to_owned(),
            source: "overlay".to_owned(),
            options: vec!["lowerdir=/a:/b".to_owned()],
            ..Default::default()
        }],
        stdout: "cri:///var/log/0.log?max-line=16384".to_owned(),
        stderr: "/run/fifo".to_owned(),
        options: any("runtimeoptions.v1.Options", &options),
        ..Default::default()
    }
}

fn exec(process: &str) -> Vec<u8> {
    let kind = "types.containerd.io/opencontainers/runtime-spec/1/Process";
    let request = api::ExecProcessRequest {
        id: "task-1".to_owned(),
        exec_id: "exec-1".to_owned(),
        terminal: true,
        stdin: "/run/in".to_owned(),
        stdout: "/run/out".to_owned(),
        spec: any(kind, process.as_bytes()),
        ..Default::default()
    };
    request.write_to_bytes().unwrap()
}

fn kill() -> api::KillRequest {
    api::KillRequest {
        id: "task-1".to_owned(),
        exec_id: "exec-1".to_owned(),
        signal: 15,
        all: true,
        ..Default::default()
    }
}

fn resize() -> api::ResizePtyRequest {
    api::ResizePtyRequest {
        id: "task-1".to_owned(),
        width: 80,
        height: 65_535,
        ..Default::default()
    }
}

fn close_io() -> api::CloseIORequest {
    api::CloseIORequest {
        id: "task-1".to_owned(),
        stdin: true,
        ..Default::default()
    }
}

fn update() -> api::UpdateTaskRequest {
    let json =
        br#"{"memory":{"limit":1048576},"pids":{"limit":7},"unified":{"memory.high":"max"}}"#;
    api::UpdateTaskRequest {
        id: "task-1".to_owned(),
        resources: any(
            "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources",
            json,
        ),
        ..Default::default()
    }
}

fn checkpoint() -> api::CheckpointTaskRequest {
    // containerd.runc.v1.CheckpointOptions: exit and image_path.
    api::CheckpointTaskRequest {
        id: "task-1".to_owned(),
        path: "/var/checkpoint".to_owned(),
        options: any(
            "containerd.runc.v1.CheckpointOptions",
            b"\x08\x01\x3a\x04/img",
        ),
        ..Default::default()
    }
}
