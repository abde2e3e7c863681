//! `outlive run`: a pod and a container in one, in the foreground or not.
//!
//! ```text
//! RunPodSandbox -> CreateContainer -> StartContainer -> log, signals, end -> (--rm) remove pod and log
//!        `-- fails: nothing is left     `-- fails: the container stays, with the reason, unless --rm
//! ```
//!
//! With -d this command ends before the container does, so that the supervisor carries out --rm
//! (`crate::api::annotations`).

mod config;
mod foreground;
mod security;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::args::{Global, RunArgs};
use super::client::Client;
use super::error::{Error, OUR_FAILURE, no_program, tell};
use super::{exec, output, served, watch};
use crate::api::annotations::{LABEL, LOG_DIRECTORY};
use crate::api::cri;
use crate::sys::file;
use foreground::Signals;
use watch::Ended;

/// What pulling an image or setting up a network may take beyond other calls.
const SETUP: Duration = Duration::from_secs(90);

/// Runs a program in a new container.
pub async fn run(global: &Global, args: Box<RunArgs>) -> Result<ExitCode, Error> {
    let client = Client::connect(global).await?;
    // The plan puts the log below the supervisor's root.
    let global = &Global {
        root: Some(served::root(global, &client).await?),
        ..global.clone()
    };
    let plan = config::Plan::new(global, &args)?;
    // Before anything is made: what comes while it is being made reaches the program as soon as it runs.
    let signals = Signals::listen()?;
    std::fs::create_dir_all(&plan.log_directory).map_err(|source| Error::Io {
        operation: format!("make log directory {:?}", plan.log_directory),
        source,
    })?;
    let made = make(&client, &plan).await?;
    if args.detach {
        start(&client, &made).await?;
        output::text(&format!("{}\n", made.container))?;
        return Ok(ExitCode::SUCCESS);
    }
    let ended = attended(&client, &made, &plan, signals).await;
    // Neither behind the supervisor's back nor behind the user's, who was just told that it goes on.
    let goes_on = match &ended {
        Ok(ended) => ended.is_none(),
        Err(error) => error.is_outage(),
    };
    if args.rm
        && !goes_on
        && let Err(error) = made.remove(&client).await
    {
        tell(&error);
    }
    match ended? {
        Some(Ended::Exited(status)) => Ok(exit_code(&status)),
        Some(Ended::Removed) => Err(Error::Unsupported(format!(
            "container {} was removed while it was being watched; its exit code went with it",
            plan.name
        ))),
        None => Ok(ExitCode::from(OUR_FAILURE)),
    }
}

/// Starts the container and shows it until its end; `None` where the user asked to leave it alone.
async fn attended(
    client: &Client,
    made: &Made,
    plan: &config::Plan,
    signals: Signals,
) -> Result<Option<Ended>, Error> {
    let bundle = watch::bundle(client, &made.container).await;
    let watch = watch::Watch::new(client, &made.container).await;
    start(client, made).await?;
    foreground::show(client, made, plan, bundle.as_deref(), watch, signals).await
}

async fn start(client: &Client, made: &Made) -> Result<(), Error> {
    let request = cri::StartContainerRequest {
        container_id: made.container.clone(),
    };
    let mut runtime = client.runtime();
    let call = runtime.start_container(request);
    let started = client.call_longer("start", SETUP, call).await;
    started.map(drop).map_err(Error::of_program)
}

/// Makes the pod and the container; nothing stays of a pod whose container cannot be made.
async fn make(client: &Client, plan: &config::Plan) -> Result<Made, Error> {
    let mut runtime = client.runtime();
    let request = cri::RunPodSandboxRequest {
        config: Some(plan.pod.clone()),
        runtime_handler: plan.runtime.clone(),
    };
    let call = runtime.run_pod_sandbox(request);
    let pod = match client.call_longer("run pod", SETUP, call).await {
        Ok(answer) => answer.pod_sandbox_id,
        Err(error) => {
            // It is another's where the name is taken.
            drop(std::fs::remove_dir(&plan.log_directory));
            return Err(plan.name_taken(error));
        }
    };
    let request = cri::CreateContainerRequest {
        pod_sandbox_id: pod.clone(),
        config: Some(plan.container.clone()),
        sandbox_config: Some(plan.pod.clone()),
    };
    let call = runtime.create_container(request);
    let mut made = Made {
        pod,
        container: String::new(),
        own_logs: plan.owns_logs().then(|| plan.log_directory.clone()),
    };
    match client.call_longer("create container", SETUP, call).await {
        Ok(answer) => {
            made.container = answer.container_id;
            Ok(made)
        }
        Err(error) => {
            if let Err(error) = made.remove(client).await {
                tell(&error);
            }
            Err(error)
        }
    }
}

fn exit_code(status: &cri::ContainerStatus) -> ExitCode {
    if status.reason == "StartError" {
        let code = no_program(&status.message).unwrap_or(OUR_FAILURE);
        return ExitCode::from(code);
    }
    exec::exit_code(status.exit_code)
}

/// What `run` made: it goes together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pod: String,
    container: String,
    /// The log directory that goes with it.
    own_logs: Option<PathBuf>,
}

impl Made {
    /// What was made around `container`; `None` where it was not `run`.
    pub fn of(container: &cri::Container) -> Option<Self> {
        container.labels.contains_key(LABEL).then(|| Self {
            pod: container.pod_sandbox_id.clone(),
            container: container.id.clone(),
            own_logs: container.annotations.get(LOG_DIRECTORY).map(PathBuf::from),
        })
    }

    /// Removes the pod with the container, and the log unless the user chose its place.
    ///
    /// # Errors
    /// Those of the calls; a log that stays is told only.
    pub async fn remove(&self, client: &Client) -> Result<(), Error> {
        client.remove_pod(&self.pod).await?;
        if let Some(directory) = &self.own_logs
            && let Err(source) = file::remove_with_files(directory)
        {
            tell(&Error::Io {
                operation: format!("remove log directory {directory:?}"),
                source,
            });
        }
        Ok(())
    }
}
