//! Inputs of each property to begin with: as the product writes them, where it does, and some that are nearly so.

use std::fs;
use std::io;
use std::path::Path;

use outlive::api::cri;
use outlive::bundle::runtime::{self, RuntimeRecord};
use outlive::bundle::{Bundle, ExitEntry, ExitJournal};
use outlive::supervisor::network::Phase;
use outlive::supervisor::network::cache::{Cache, Network};
use outlive::supervisor::network::list::List;
use outlive::supervisor::store::{
    Activity, Checkpoint, ContainerMeta, ContainerStatus, ExitCause, PodCheckpoint, PodMeta,
    PodState,
};
use outlive::types::{ContainerId, ExecId, ExitStatus, Pid, ProcessIdentity, Signal, Timestamp};
use serde_json::json;

use crate::properties::{Scratch, bodies};

mod archives;
mod calls;

pub use archives::{image_archive, image_layer};
pub use calls::shim_call;

/// The bytes that `write` leaves in a file.
fn file(name: &str, write: impl FnOnce(&Path) -> io::Result<()>) -> Vec<u8> {
    let scratch = Scratch::new();
    let path = scratch.join(name);
    write(&path).unwrap();
    fs::read(path).unwrap()
}

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_unix_nanos(1_700_000_000_000_000_000 + nanos)
}

fn id(text: &str) -> ContainerId {
    ContainerId::new(text).unwrap()
}

const PROCESS: fn() -> ProcessIdentity = || ProcessIdentity {
    pid: Pid::new(4321).unwrap(),
    start_ticks: 987_654,
    boot_id: 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef,
};

pub fn container_status() -> Vec<Vec<u8>> {
    let exited = |started_at, exit, cause| ContainerStatus::Exited {
        created_at: at(1),
        started_at,
        finished_at: at(3),
        exit: ExitStatus::from_code(exit),
        cause,
    };
    let unknown = |process| ContainerStatus::Unknown {
        created_at: None,
        started_at: Some(at(2)),
        process,
        reason: "the shim does not answer: \"timed out\"".to_owned(),
    };
    let running = |activity| ContainerStatus::Running {
        created_at: at(1),
        started_at: at(2),
        process: PROCESS(),
        activity,
    };
    let statuses = [
        ContainerStatus::Created { created_at: at(1) },
        running(Activity::Running),
        running(Activity::Paused),
        exited(Some(at(2)), 7, ExitCause::Exited),
        exited(Some(at(2)), 137, ExitCause::OomKilled),
        exited(None, 128, ExitCause::StartError("no such file".to_owned())),
        exited(None, 255, ExitCause::Unknown(String::new())),
        unknown(None),
        unknown(Some(PROCESS())),
    ];
    let resources = cri::LinuxContainerResources {
        cpu_shares: 512,
        memory_limit_in_bytes: 64 << 20,
        cpuset_cpus: "0-1".to_owned(),
        unified: [("memory.high".to_owned(), "max".to_owned())].into(),
        ..Default::default()
    };
    let checkpoints = statuses.map(|status| Checkpoint {
        status,
        resources: resources.clone(),
    });
    let written = checkpoints
        .iter()
        .map(|checkpoint| file("status.json", |path| checkpoint.write(path)));
    written.collect()
}

pub fn container_config() -> Vec<Vec<u8>> {
    let config = cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata {
            name: "web".to_owned(),
            attempt: 3,
        }),
        command: vec!["/bin/sh".to_owned(), "-c".to_owned()],
        labels: [("a".to_owned(), "b".to_owned())].into(),
        ..Default::default()
    };
    let meta = |log_path: Option<&str>, layers: &[&str]| ContainerMeta {
        id: id("c1"),
        pod: id("pod-1"),
        config: config.clone(),
        runtime: "outlive".to_owned(),
        image_id: "sha256:0".to_owned(),
        layers: layers.iter().map(|&layer| layer.to_owned()).collect(),
        log_path: log_path.map(Into::into),
        user: None,
        stop_signal: Signal::TERM,
        created_at: at(1),
    };
    let metas = [
        meta(None, &[]),
        meta(Some("/var/log/pods/web/0.log"), &["e3b0c44298fc", "b1"]),
    ];
    let written = metas
        .iter()
        .map(|meta| file("container.json", |path| meta.write(path)));
    written.collect()
}

pub fn pod_status() -> Vec<Vec<u8>> {
    let states = [
        (PodState::Creating, None),
        (PodState::Ready, Some(PROCESS())),
        (PodState::NotReady, None),
        (PodState::Unknown("pod.json is damaged".to_owned()), None),
    ];
    let checkpoints = states.map(|(state, init)| PodCheckpoint { state, init });
    let written = checkpoints
        .iter()
        .map(|checkpoint| file("status.json", |path| checkpoint.write(path)));
    written.collect()
}

pub fn pod_config() -> Vec<Vec<u8>> {
    let config = cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: "pod".to_owned(),
            uid: "u".to_owned(),
            namespace: "default".to_owned(),
            attempt: 1,
        }),
        hostname: "host".to_owned(),
        ..Default::default()
    };
    let meta = PodMeta {
        id: id("pod-1"),
        config,
        runtime: String::new(),
        created_at: at(1),
    };
    vec![file("pod.json", |path| meta.write(path))]
}

pub fn pod_network() -> Vec<Vec<u8>> {
    let network = |interface: &str, list, result| Network {
        interface: interface.to_owned(),
        list,
        result,
    };
    let answer = json!({"interfaces": [{"name": "eth0", "sandbox": "/run/n"}],
        "ips": [{"address": "10.0.0.2/24", "interface": 0}]});
    let ports = json!([{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}]);
    let added = Cache {
        phase: Phase::Added,
        netns: "/run/outlive/pods/pod-1/net".into(),
        arguments: "IgnoreUnknown=1;K8S_POD_NAME=pod".to_owned(),
        capabilities: [("portMappings".to_owned(), ports)].into_iter().collect(),
        deleting_since: None,
        networks: vec![
            network("lo", List::loopback(), None),
            network("eth0", List::loopback(), Some(answer)),
        ],
    };
    let unknown = Cache::unknown("eth0", List::loopback());
    let written = [added, unknown].map(|cache| {
        file("network.json", |path| {
            cache.write(path).map_err(io::Error::other)
        })
    });
    written.into()
}

pub fn exit_journal() -> Vec<Vec<u8>> {
    let entry = |exec: Option<&str>, started_at, oom_killed| ExitEntry {
        exec: exec.map(|id| ExecId::new(id).unwrap()),
        identity: PROCESS(),
        status: ExitStatus::from_code(9),
        exited_at: at(9),
        started_at,
        oom_killed,
    };
    let entries = [
        entry(Some("health-1"), Some(at(1)), false),
        entry(Some("x"), None, false),
        entry(None, Some(at(2)), true),
    ];
    let whole = file("exits", |path| {
        let mut journal = ExitJournal::new(path.into());
        entries
            .iter()
            .try_for_each(|entry| journal.append(entry).map(drop))
    });
    let header = &whole[..12];
    let later = [&[0][..], b"outlexit\x02\0\0\0", &whole[12..]].concat();
    let torn = [&[0][..], &whole, &whole[12..40]].concat();
    vec![
        [&[0], &whole[..]].concat(),
        [&[1], &whole[12..]].concat(),
        [&[0], header].concat(),
        bodies(&whole),
        later,
        torn,
    ]
}

pub fn endpoint() -> Vec<Vec<u8>> {
    vec![
        b"unix:///run/containerd/s/0123456789abcdef0123456789abcdef".to_vec(),
        "unix:///run/ä b".into(),
    ]
}

pub fn runtime_record() -> Vec<Vec<u8>> {
    let record = RuntimeRecord {
        namespace: "k8s.io".to_owned(),
        binary: "runc".into(),
        root: "/run/containerd/runc/k8s.io".into(),
        systemd_cgroup: true,
    };
    let bundle = |path: &Path| Bundle::new(path.parent().unwrap());
    let written = file("runtime", |path| runtime::write(&bundle(path), &record));
    let of = |binary: &str, root: &str| {
        let rest = r#""namespace":"","systemd_cgroup":false,"version":1"#;
        format!(r#"{{"binary":"{binary}","root":"{root}",{rest}}}"#).into_bytes()
    };
    vec![written, of("r", "/"), of("", "/"), of("r", "r")]
}

pub fn cri_log() -> Vec<Vec<u8>> {
    let text = "one\ntwo\r\n\r\n\n\0three four five\r\rsix\n0123456789abcdef\nlast";
    let limits = [0, 1, 4, 16, 255];
    let patterns = [0, 1, 2, 7, 33, 255];
    let pairs = limits
        .iter()
        .flat_map(|limit| patterns.map(|pattern| [*limit, pattern]));
    pairs
        .map(|pair| [&pair, text.as_bytes()].concat())
        .collect()
}

pub fn log_reader() -> Vec<Vec<u8>> {
    vec![
        b"2024-02-29T10:00:00.000000001Z stdout F a b\n2024-02-29T10:00:00.000000002Z stderr P c\n"
            .to_vec(),
        b"2024-02-29T11:00:00+01:00 stdout P:x c\n\n2024-02-29T10:00:00Z stdout F \nhalf".to_vec(),
    ]
}

pub fn stdio_uri() -> Vec<Vec<u8>> {
    [
        "\0/run/fifo/1-stdout\n/run/fifo/1-stderr\n/run/fifo/1-stdin",
        "\x01fifo:///run/a%20b\n\nfifo:///run/x",
        "\0file:///var/log/x?max-size=1000&max-files=3\nfile:///var/log/y",
        "\0cri:///var/log/0.log?max-line=16384&max-size=10485760\ncri:///var/log/0.log?max-line=-1",
        "\0binary:///bin/log?id=a%2Fb&flag&=x&name=x+y\nbinary-v2:///bin/log",
        "\0ftp:///x\nrelative\nfile:///x",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
