//! A container's shim is asked what its task is. [`Question::ask`] changes nothing; both can be given up at any point.
//!
//! ```text
//! address unreadable, connect or State fails otherwise, no answer in time   --> Unreachable
//! no address, nobody listens, or no such task + journal                     --> NoShim{entry}
//!                                             + of one that never started   --> NoShim{}
//!                                             + journal unreadable          --> Unreachable
//! State                                                                     --> Created | Running | Paused | Stopped
//!       Stopped, of one that never started                                  --> Created
//! ```
//!
//! A task that was never started and is killed to be deleted has an end too, which is not its container's: who is killed
//! in the middle of that finds it, and has to come to the same as before.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::Code;

use super::classify::{Live, Reported};
use super::scan::{endpoint_of, recorded_exit};
use crate::bundle::{Bundle, ExitEntry};
use crate::supervisor::exits::Ended;
use crate::supervisor::shim_client::{ShimClient, ShimError, TaskReport};
use crate::supervisor::store::{self, ExitCause};
use crate::sys::proc;
use crate::types::error::chain;
use crate::types::{ContainerId, Pid, TaskStatus, Timestamp};

/// How long is waited before a shim is asked again whose answer was overtaken by what happened meanwhile.
const AGAIN: Duration = Duration::from_millis(20);
/// How often it is asked again.
const TIMES: u32 = 20;

/// What was found out.
#[derive(Debug)]
pub struct Answer {
    /// What the task is.
    pub reported: Reported,
    /// The connection to its shim, where one is there.
    pub shim: Option<ShimClient>,
}

/// Which container is asked about.
#[derive(Debug, Clone)]
pub struct Question {
    /// Its id.
    pub id: ContainerId,
    /// Its bundle.
    pub bundle: Bundle,
    /// When its program was started, where that is known already.
    pub started_at: Option<Timestamp>,
}

/// What one attempt came to.
enum Attempt {
    /// It is known.
    Known(Answer),
    /// The world changed while it was asked.
    Overtaken(String),
}

fn unreachable(shim: Option<ShimClient>, why: impl Into<String>) -> Answer {
    Answer {
        reported: Reported::Unreachable(why.into()),
        shim,
    }
}

impl Question {
    /// Asks the shim, until `deadline` at most.
    pub async fn ask(&self, deadline: Instant) -> Answer {
        let mut last = String::new();
        for _ in 0..TIMES {
            let attempt = timeout_at(deadline, self.attempt(deadline));
            match attempt.await {
                Ok(Attempt::Known(answer)) => return answer,
                Ok(Attempt::Overtaken(why)) => last = why,
                Err(_) => return unreachable(None, "its shim does not answer"),
            }
            sleep(AGAIN).await;
        }
        unreachable(None, last)
    }

    /// Makes sure that a task which its shim calls created does not become anything else: the start that a dead supervisor
    /// asked for may go on in the shim, and State does not tell. Delete does: it is refused while a task is starting, and what
    /// it has deleted has never run. Unreachable where it is still starting at `deadline`.
    pub async fn certain(&self, mut answer: Answer, deadline: Instant) -> Answer {
        while let (Reported::Created, Some(shim)) = (&answer.reported, &answer.shim) {
            match timeout_at(deadline, shim.delete()).await {
                Ok(Err(ShimError::Refused {
                    code: Code::FailedPrecondition,
                    ..
                })) if Instant::now() < deadline => {}
                Ok(Ok(())) => break,
                Ok(Err(error)) if error.is_not_found() => break,
                Ok(Err(error)) => return unreachable(answer.shim, chain(&error)),
                Err(_) => return unreachable(answer.shim, "its shim does not answer"),
            }
            sleep(AGAIN).await;
            answer = self.ask(deadline).await;
        }
        answer
    }

    async fn attempt(&self, deadline: Instant) -> Attempt {
        let bundle = self.bundle.clone();
        let endpoint = read(move || endpoint_of(&bundle)).await;
        match endpoint {
            Err(why) => return Attempt::Known(unreachable(None, why)),
            Ok(None) => return Attempt::Known(self.without_task(None).await),
            Ok(Some(_)) => {}
        }
        let shim = match ShimClient::connect(&self.id, &self.bundle).await {
            Ok(shim) => shim,
            Err(error) if is_absent(&error) => {
                return Attempt::Known(self.without_task(None).await);
            }
            Err(error) => return Attempt::Known(unreachable(None, chain(&error))),
        };
        let within = deadline.saturating_duration_since(Instant::now());
        match shim.state(within).await {
            Ok(report) => self.understand(shim, report).await,
            Err(ShimError::Refused {
                code: Code::NotFound,
                ..
            }) => Attempt::Known(self.without_task(Some(shim)).await),
            // Its end, or a connection that was lost: connecting again tells which.
            Err(error @ ShimError::Gone { .. }) => Attempt::Overtaken(chain(&error)),
            Err(error) => Attempt::Known(unreachable(Some(shim), chain(&error))),
        }
    }

    async fn without_task(&self, shim: Option<ShimClient>) -> Answer {
        match self.recorded().await {
            Ok(exit) => Answer {
                reported: Reported::NoShim {
                    exit: exit.filter(|entry| !self.never_ran(entry)),
                },
                shim,
            },
            Err(why) => unreachable(shim, why),
        }
    }

    async fn recorded(&self) -> Result<Option<ExitEntry>, String> {
        let bundle = self.bundle.clone();
        read(move || recorded_exit(&bundle)).await
    }

    /// Whether the task was killed before its program ran. Only our shim keeps a journal, and it knows.
    fn never_ran(&self, entry: &ExitEntry) -> bool {
        entry.started_at.is_none() && self.started_at.is_none()
    }

    async fn understand(&self, shim: ShimClient, report: TaskReport) -> Attempt {
        let reported = match report.status {
            TaskStatus::Created => Reported::Created,
            TaskStatus::Stopped(record) => match self.recorded().await {
                Ok(Some(entry)) if entry.identity.pid == record.pid => {
                    if self.never_ran(&entry) {
                        Reported::Created
                    } else {
                        Reported::Stopped(Ended::recorded(&entry))
                    }
                }
                // What only the journal knows is not known.
                Ok(_) | Err(_) => Reported::Stopped(Ended {
                    exit: record.status,
                    at: record.exited_at,
                    started_at: shim.started_at().await.ok().flatten(),
                    cause: ExitCause::Exited,
                }),
            },
            TaskStatus::Running | TaskStatus::Pausing => match self.live(&shim, report.pid).await {
                Ok(live) => Reported::Running(live),
                Err(why) => return Attempt::Overtaken(why),
            },
            TaskStatus::Paused => match self.live(&shim, report.pid).await {
                Ok(live) => Reported::Paused(live),
                Err(why) => return Attempt::Overtaken(why),
            },
        };
        Attempt::Known(Answer {
            reported,
            shim: Some(shim),
        })
    }

    /// The program that runs as `pid`; it may have ended since the shim said so.
    async fn live(&self, shim: &ShimClient, pid: Option<Pid>) -> Result<Live, String> {
        let pid = pid.ok_or("its shim reports a task that runs without a process")?;
        let process = proc::identity(pid)
            .map_err(|error| format!("its shim reports process {pid}: {error}"))?;
        let started_at = match self.started_at {
            Some(at) => at,
            None => match shim.started_at().await {
                Ok(Some(at)) => at,
                // Another shim. The process is the OCI runtime's child until it becomes the program, shortly after.
                Ok(None)
                | Err(ShimError::Refused {
                    code: Code::Unimplemented,
                    ..
                }) => proc::started_at(&process).map_err(|error| error.to_string())?,
                Err(error) => return Err(chain(&error)),
            },
        };
        Ok(Live {
            process,
            started_at,
        })
    }
}

/// Whether connecting failed because nobody listens. Any other failure (EMFILE, EACCES) tells about us, not the shim.
#[must_use]
pub fn is_absent(error: &ShimError) -> bool {
    match error {
        ShimError::Gone { source, .. } => matches!(
            source.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
        ),
        ShimError::Timeout { .. } | ShimError::Refused { .. } | ShimError::Launch { .. } => false,
    }
}

/// Reads a file beside the runtime's thread.
async fn read<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let read = move || work().map_err(io::Error::other);
    store::blocking("read", std::path::PathBuf::new(), read)
        .await
        .map_err(|error| error.source.to_string())
}
