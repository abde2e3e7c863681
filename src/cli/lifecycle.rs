//! `outlive stop`, `kill`, `rm`, `pods stop` and `pods rm`: one after the other, and the rest still when one fails.

use std::process::ExitCode;
use std::time::Duration;

use super::args::{Global, KillArgs, RmArgs, StopArgs};
use super::client::{Client, KillScope, is_gone};
use super::error::{Error, tell};
use super::resolve::{self, Named as _};
use super::run::Made;
use super::{json, output};
use crate::api::cri;

/// Whether what runs may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// It may.
    Kill,
    /// It must have been stopped.
    Refuse,
}

impl From<bool> for Force {
    fn from(given: bool) -> Self {
        if given { Self::Kill } else { Self::Refuse }
    }
}

/// Does `work` for each word, prints the word where it is done and the error where not; the exit code is that of the
/// first error.
async fn each<'a, F>(words: &'a [String], work: impl Fn(&'a str) -> F) -> Result<ExitCode, Error>
where
    F: Future<Output = Result<(), Error>>,
{
    let mut code = 0;
    for word in words {
        match work(word).await {
            Ok(()) => output::text(&format!("{word}\n"))?,
            Err(error) => {
                tell(&error);
                if code == 0 {
                    code = error.exit_code();
                }
            }
        }
    }
    Ok(ExitCode::from(code))
}

/// Stops containers.
pub async fn stop(global: &Global, args: &StopArgs) -> Result<ExitCode, Error> {
    let client = Client::connect(global).await?;
    let client = &client;
    each(&args.containers, async |word| {
        let container = resolve::container(client, word).await?;
        let mut runtime = client.runtime();
        let request = cri::StopContainerRequest {
            container_id: container.id,
            timeout: args.time.into(),
        };
        let grace = Duration::from_secs(args.time.into());
        client
            .call_longer(
                format!("stop {word}"),
                grace,
                runtime.stop_container(request),
            )
            .await?;
        Ok(())
    })
    .await
}

/// Sends a signal to containers.
pub async fn kill(global: &Global, args: &KillArgs) -> Result<ExitCode, Error> {
    let client = Client::connect(global).await?;
    let client = &client;
    let scope = if args.all {
        KillScope::All
    } else {
        KillScope::Init
    };
    each(&args.containers, async |word| {
        let container = resolve::container(client, word).await?;
        if container.state() == cri::ContainerState::ContainerExited {
            return Err(Error::WrongState {
                subject: format!("container {word}"),
                state: "exited",
                remedy: "only what runs can be sent a signal",
            });
        }
        client.kill(&container.id, args.signal, scope).await
    })
    .await
}

/// Removes containers, and what `run` made around them.
pub async fn remove(global: &Global, args: &RmArgs) -> Result<ExitCode, Error> {
    let client = Client::connect(global).await?;
    let client = &client;
    let force = Force::from(args.force);
    each(&args.containers, async |word| {
        let container = resolve::container(client, word).await?;
        remove_one(client, word, &container, force).await
    })
    .await
}

async fn remove_one(
    client: &Client,
    word: &str,
    container: &cri::Container,
    force: Force,
) -> Result<(), Error> {
    let state = container.state();
    let may_run = matches!(
        state,
        cri::ContainerState::ContainerRunning | cri::ContainerState::ContainerUnknown
    );
    if may_run && force == Force::Refuse {
        return Err(Error::WrongState {
            subject: format!("container {word}"),
            state: json::container_state(state),
            remedy: "stop it first, or remove it with -f",
        });
    }
    if let Some(made) = Made::of(container) {
        return made.remove(client).await;
    }
    let request = cri::RemoveContainerRequest {
        container_id: container.id.clone(),
    };
    let mut runtime = client.runtime();
    let call = runtime.remove_container(request);
    let removed = client.call(format!("remove {word}"), call).await;
    match removed {
        Err(error) if !is_gone(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Stops pods.
pub async fn stop_pods(global: &Global, words: &[String]) -> Result<ExitCode, Error> {
    let client = Client::connect(global).await?;
    let client = &client;
    each(words, async |word| {
        let pod = resolve::pod(client, word).await?;
        let mut runtime = client.runtime();
        let request = cri::StopPodSandboxRequest {
            pod_sandbox_id: pod.id,
        };
        client
            .call(
                format!("stop pod {word}"),
                runtime.stop_pod_sandbox(request),
            )
            .await?;
        Ok(())
    })
    .await
}

/// Removes pods with their containers.
pub async fn remove_pods(
    global: &Global,
    words: &[String],
    force: Force,
) -> Result<ExitCode, Error> {
    let client = Client::connect(global).await?;
    let client = &client;
    each(words, async |word| {
        let pod = resolve::pod(client, word).await?;
        let containers = client
            .containers(Some(cri::ContainerFilter {
                pod_sandbox_id: pod.id.clone(),
                ..Default::default()
            }))
            .await?;
        let runs = containers
            .iter()
            .any(|container| container.state() == cri::ContainerState::ContainerRunning);
        if runs && force == Force::Refuse {
            return Err(Error::WrongState {
                subject: format!("pod {}", pod.name()),
                state: "running containers",
                remedy: "stop it first (`outlive pods stop`), or remove it with -f",
            });
        }
        match containers.iter().find_map(Made::of) {
            Some(made) => made.remove(client).await,
            None => client.remove_pod(&pod.id).await,
        }
    })
    .await
}
