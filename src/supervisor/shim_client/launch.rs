//! The actions of a shim's program: `start` and `delete` (containerd `core/runtime/v2/binary.go`).
//!
//! ```text
//! SHIM -namespace NS -address GRPC -publish-binary OURSELVES -id ID start                   in the bundle
//!   stdin   the runtime's options, an Any
//!   stdout  unix:///path | {"version":3,"address":"unix:///path","protocol":"ttrpc"} | BootstrapResult
//! SHIM -namespace NS -address GRPC -publish-binary OURSELVES -id ID -bundle DIR delete      in the bundle
//! SHIM -info
//!   stdin   the runtime's options, an Any
//!   stdout  RuntimeInfo, with the OCI runtime's features
//! ```

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use containerd_shim_protos::bootstrap_api::BootstrapResult;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::oci::Options;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::Home;
use super::error::ShimError;
use crate::bundle::Bundle;
use crate::config::supervisor::Runtime;
use crate::supervisor::program::Program;
use crate::types::ContainerId;

/// `start` forks and answers. Ours takes some ten milliseconds.
const START_LIMIT: Duration = Duration::from_secs(10);
/// `-info` asks the OCI runtime for its features, which takes some ten milliseconds.
const INFO_LIMIT: Duration = Duration::from_secs(5);
/// `delete` kills, asks the OCI runtime to delete, and unmounts.
const DELETE_LIMIT: Duration = Duration::from_secs(30);
/// How long what a program printed may take to arrive after its end; longer means that a child of it has the pipe.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);
/// An address is short, and the features of an OCI runtime take some 5 KiB.
const MAX_OUTPUT: u64 = 64 << 10;
/// systemd's words to the supervisor itself. The OCI runtime would take NOTIFY_SOCKET for the container's.
const NOT_FOR_SHIMS: [&str; 7] = [
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "FAILPOINTS",
];

/// Runs `start`; gives the address that it answers.
///
/// # Errors
/// [`ShimError::Launch`].
pub async fn start(
    home: &Home,
    runtime: &Runtime,
    id: &ContainerId,
    bundle: &Bundle,
) -> Result<String, ShimError> {
    let failed = |reason| ShimError::Launch {
        shim: runtime.shim.clone(),
        reason,
    };
    let mut command = command(home, runtime, id, bundle).map_err(failed)?;
    command.arg("start");
    let options = options(runtime).write_to_bytes().unwrap_or_default();
    let output = run(command, options, START_LIMIT).await.map_err(failed)?;
    if !output.status.success() {
        return Err(failed(output.describe()));
    }
    address(&output.stdout).ok_or_else(|| failed(format!("no address; {}", output.describe())))
}

/// Runs `delete`.
///
/// # Errors
/// [`ShimError::Launch`].
pub async fn delete(
    home: &Home,
    runtime: &Runtime,
    id: &ContainerId,
    bundle: &Bundle,
) -> Result<(), ShimError> {
    let failed = |reason| ShimError::Launch {
        shim: runtime.shim.clone(),
        reason,
    };
    let mut command = command(home, runtime, id, bundle).map_err(failed)?;
    command.arg("-bundle").arg(bundle.dir()).arg("delete");
    let output = run(command, Vec::new(), DELETE_LIMIT)
        .await
        .map_err(failed)?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed(output.describe()))
    }
}

/// Runs `-info`, which takes the options on stdin and prints a `RuntimeInfo` (containerd
/// `core/runtime/v2/task_manager.go`); gives what it printed. `None` where it exits
/// with an error, as one of before containerd 2.0 does, which has no such action.
///
/// # Errors
/// [`ShimError::Launch`]: it could not be run, or took too long.
pub async fn info(runtime: &Runtime) -> Result<Option<Vec<u8>>, ShimError> {
    let failed = |reason| ShimError::Launch {
        shim: runtime.shim.clone(),
        reason,
    };
    let mut command = Command::new(&runtime.shim);
    command
        .arg("-info")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in NOT_FOR_SHIMS {
        command.env_remove(name);
    }
    let options = options(runtime).write_to_bytes().unwrap_or_default();
    let output = run(command, options, INFO_LIMIT).await.map_err(failed)?;
    Ok(output.status.success().then_some(output.stdout))
}

/// The runtime's options, as Create and `start` carry them.
#[must_use]
pub fn options(runtime: &Runtime) -> Any {
    let text = |path: &Option<std::path::PathBuf>| {
        let path = path.as_deref().unwrap_or(Path::new(""));
        path.to_string_lossy().into_owned()
    };
    let options = Options {
        binary_name: text(&runtime.binary),
        root: text(&runtime.runtime_root),
        ..Options::default()
    };
    Any {
        type_url: "containerd.runc.v1.Options".to_owned(),
        // A message without required fields can always be written.
        value: options.write_to_bytes().unwrap_or_default(),
        ..Any::default()
    }
}

fn command(
    home: &Home,
    runtime: &Runtime,
    id: &ContainerId,
    bundle: &Bundle,
) -> Result<Command, String> {
    let ourselves =
        std::env::current_exe().map_err(|error| format!("find the own program: {error}"))?;
    let mut command = Command::new(&runtime.shim);
    command
        .current_dir(bundle.dir())
        .args(["-namespace", &home.namespace, "-address"])
        .arg(&home.address)
        .arg("-publish-binary")
        .arg(ourselves)
        .args(["-id", id.as_str()])
        .env("TTRPC_ADDRESS", &home.events)
        .env("GRPC_ADDRESS", &home.address)
        .env("NAMESPACE", &home.namespace)
        // The newest version of the reply that containerd 1.7 and 2.x ask for, and a size for Go's thread pool.
        .envs([("MAX_SHIM_VERSION", "2"), ("GOMAXPROCS", "2")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in NOT_FOR_SHIMS {
        command.env_remove(name);
    }
    Ok(command)
}

/// What a program left.
struct Output {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Output {
    fn describe(&self) -> String {
        format!("{}{}", self.status, printed(&self.stdout, &self.stderr))
    }
}

fn printed(stdout: &[u8], stderr: &[u8]) -> String {
    let mut text = String::new();
    for (name, bytes) in [("stdout", stdout), ("stderr", stderr)] {
        let printed = String::from_utf8_lossy(bytes);
        let printed: String = printed.trim().chars().take(1024).collect();
        if !printed.is_empty() {
            text.push_str(&format!("; {name}: {printed:?}"));
        }
    }
    text
}

/// Runs a program to its end, or kills it and its process group.
async fn run(command: Command, stdin: Vec<u8>, limit: Duration) -> Result<Output, String> {
    let (mut program, pipes) = Program::start(command).map_err(|error| error.to_string())?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let ended = {
        let talking = async {
            let feeding = async {
                if let Some(mut input) = pipes.stdin {
                    // A program need not read it.
                    drop(input.write_all(&stdin).await);
                }
            };
            tokio::join!(
                feeding,
                collect(pipes.stdout, &mut stdout),
                collect(pipes.stderr, &mut stderr)
            );
        };
        timeout(limit, end(&mut program, talking)).await
    };
    match ended {
        Ok(Ok(status)) => Ok(Output {
            status,
            stdout,
            stderr,
        }),
        Ok(Err(error)) => Err(format!("wait: {error}")),
        Err(_) => {
            if let Err(error) = program.kill(OUTPUT_GRACE).await {
                log::warn!("a shim's program does not end after SIGKILL: {error}");
            }
            let printed = printed(&stdout, &stderr);
            Err(format!("no end within {} s{printed}", limit.as_secs()))
        }
    }
}

async fn collect(stream: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    if let Some(stream) = stream {
        // What was read is there all the same.
        drop(stream.take(MAX_OUTPUT).read_to_end(into).await);
    }
}

async fn end(
    program: &mut Program,
    talking: impl Future<Output = ()>,
) -> std::io::Result<ExitStatus> {
    tokio::pin!(talking);
    tokio::select! {
        status = program.wait() => {
            tokio::select! {
                () = &mut talking => {}
                () = sleep(OUTPUT_GRACE) => {}
            }
            status
        }
        () = &mut talking => program.wait().await,
    }
}

#[derive(Deserialize)]
struct JsonReply {
    address: String,
    #[serde(default)]
    protocol: String,
}

/// The address in a reply; `None` where there is none that this side could call.
fn address(reply: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(reply).map_or("", str::trim);
    let (address, protocol) = if text.starts_with("unix://") {
        (text.to_owned(), String::new())
    } else if text.starts_with('{') {
        let reply: JsonReply = serde_json::from_str(text).ok()?;
        (reply.address, reply.protocol)
    } else {
        let reply = BootstrapResult::parse_from_bytes(reply).ok()?;
        (reply.address, reply.protocol)
    };
    let callable = address.starts_with("unix:///") && !address.contains(char::is_control);
    (callable && matches!(protocol.as_str(), "" | "ttrpc")).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_reply_is_understood() {
        let wanted = Some("unix:///run/s/1".to_owned());
        assert_eq!(address(b"unix:///run/s/1"), wanted);
        assert_eq!(address(b"unix:///run/s/1\n"), wanted);
        let json = br#"{"version":3,"address":"unix:///run/s/1","protocol":"ttrpc"}"#;
        assert_eq!(address(json), wanted);
        let reply = BootstrapResult {
            version: 3,
            address: "unix:///run/s/1".to_owned(),
            protocol: "ttrpc".to_owned(),
            ..BootstrapResult::default()
        };
        assert_eq!(address(&reply.write_to_bytes().unwrap()), wanted);
    }

    #[test]
    fn what_cannot_be_called_is_no_address() {
        let grpc = br#"{"version":3,"address":"unix:///s","protocol":"grpc"}"#;
        for reply in [
            &b""[..],
            b"hello",
            b"unix://x",
            b"vsock://1:2",
            b"unix:///a\nwarning: b",
            b"{}",
            grpc,
            b"\xff\xfe",
        ] {
            assert_eq!(address(reply), None, "{reply:?}");
        }
    }
}
