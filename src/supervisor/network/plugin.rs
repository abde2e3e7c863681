//! Running one CNI plugin: the configuration on its stdin, what it is to do in its environment, the answer on its
//! stdout (SPEC.md, "Section 2: Execution Protocol").

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{NetworkError, Plugins};
use crate::supervisor::program::{Pipes, Program};
use crate::types::ContainerId;

/// How many plugins run at the same time; who comes then waits for a place, and each that runs has its deadline.
static PLACES: Semaphore = Semaphore::const_new(32);
/// A plugin that answers more is cut off, and its answer is not understood.
const LONGEST_ANSWER: u64 = 1 << 20;
/// How much of what it prints for people is told.
const LONGEST_COMPLAINT: usize = 1024;
/// How long a killed plugin is waited for.
const KILLED: std::time::Duration = std::time::Duration::from_secs(5);
/// Plugins call programs such as iptables.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a plugin is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Add the container to the network.
    Add,
    /// Delete it from there.
    Del,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
        })
    }
}

/// What a plugin is told in its environment.
#[derive(Debug)]
pub(super) struct Invocation<'a> {
    pub command: Command,
    pub container: &'a ContainerId,
    /// `None` where the namespace is gone.
    pub netns: Option<&'a Path>,
    pub interface: &'a str,
    pub arguments: &'a str,
}

/// The program of the plugin `kind`.
///
/// # Errors
/// [`NetworkError::NoPlugin`].
pub(super) fn find(dirs: &[PathBuf], kind: &str, list: &str) -> Result<PathBuf, NetworkError> {
    let candidates = dirs.iter().map(|dir| dir.join(kind));
    let mut existing = candidates.filter(|path| path.is_file());
    existing.next().ok_or_else(|| NetworkError::NoPlugin {
        list: list.to_owned(),
        plugin: kind.to_owned(),
        dirs: dirs.to_vec(),
    })
}

/// Runs the plugin `kind` of `list`, and gives its answer: none for DEL, a result for ADD.
///
/// # Errors
/// [`NetworkError`]; after `Deadline` it and what it started are dead.
pub(super) async fn run(
    plugins: &Plugins,
    list: &str,
    kind: &str,
    invocation: &Invocation<'_>,
    stdin: &[u8],
) -> Result<Option<Value>, NetworkError> {
    let program = find(&plugins.bin_dirs, kind, list)?;
    // The semaphore is never closed.
    let place = PLACES.acquire().await;
    let failed = |source| NetworkError::Run {
        list: list.to_owned(),
        plugin: kind.to_owned(),
        command: invocation.command,
        source,
    };
    let (mut program, pipes) = start(plugins, &program, invocation).map_err(failed)?;
    let ended = timeout(plugins.deadline, talk(&mut program, pipes, stdin)).await;
    let Ok(output) = ended else {
        if let Err(error) = program.kill(KILLED).await {
            log::warn!(error:%; "a killed network plugin does not end");
        }
        return Err(NetworkError::Deadline {
            list: list.to_owned(),
            plugin: kind.to_owned(),
            command: invocation.command,
            seconds: plugins.deadline.as_secs(),
        });
    };
    drop(place);
    understand(list, kind, invocation.command, output.map_err(failed)?)
}

fn start(
    plugins: &Plugins,
    program: &Path,
    invocation: &Invocation<'_>,
) -> io::Result<(Program, Pipes)> {
    let path = std::env::join_paths(&plugins.bin_dirs).map_err(io::Error::other)?;
    let mut command = std::process::Command::new(program);
    if std::env::var_os("PATH").is_none() {
        command.env("PATH", DEFAULT_PATH);
    }
    command
        .env("CNI_COMMAND", invocation.command.to_string())
        .env("CNI_CONTAINERID", invocation.container.as_str())
        .env("CNI_NETNS", invocation.netns.unwrap_or(Path::new("")))
        .env("CNI_IFNAME", invocation.interface)
        .env("CNI_ARGS", invocation.arguments)
        .env("CNI_PATH", path)
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // What it starts (IPAM plugins, iptables) is killed with it.
    Program::start(command)
}

/// Gives the plugin its configuration and takes what it prints until it has ended.
async fn talk(program: &mut Program, pipes: Pipes, stdin: &[u8]) -> io::Result<Output> {
    let write = async {
        if let Some(mut input) = pipes.stdin {
            // One that does not read says why in its answer, or in how it ends.
            drop(input.write_all(stdin).await);
        }
    };
    let ((), stdout, stderr) = tokio::join!(write, read(pipes.stdout), read(pipes.stderr));
    Ok(Output {
        stdout: stdout?,
        stderr: stderr?,
        status: program.wait().await?,
    })
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(LONGEST_ANSWER).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

fn understand(
    list: &str,
    plugin: &str,
    command: Command,
    output: Output,
) -> Result<Option<Value>, NetworkError> {
    let malformed = |reason: String| NetworkError::Malformed {
        list: list.to_owned(),
        plugin: plugin.to_owned(),
        command,
        reason,
    };
    let answer = serde_json::from_slice::<Value>(&output.stdout);
    if output.status.success() {
        return match (command, answer) {
            (Command::Del, _) => Ok(None),
            (Command::Add, Ok(result)) => Ok(Some(result)),
            (Command::Add, Err(error)) => Err(malformed(format!("its answer: {error}"))),
        };
    }
    let text = |key: &str| {
        let answer = answer.as_ref().ok()?;
        Some(answer.get(key)?.as_str()?.to_owned()).filter(|text| !text.is_empty())
    };
    if let Some(message) = text("msg") {
        let details = text("details").map(|details| format!(": {details}"));
        let code = answer.as_ref().ok().and_then(|answer| answer.get("code"));
        return Err(NetworkError::Refused {
            list: list.to_owned(),
            plugin: plugin.to_owned(),
            command,
            code: code.and_then(Value::as_u64).unwrap_or_default(),
            message: message + &details.unwrap_or_default(),
        });
    }
    let start = output.stderr.len().saturating_sub(LONGEST_COMPLAINT);
    let complaint = output.stderr.get(start..).unwrap_or_default();
    let complaint = String::from_utf8_lossy(complaint);
    Err(malformed(format!(
        "{}: {}",
        output.status,
        complaint.trim()
    )))
}
