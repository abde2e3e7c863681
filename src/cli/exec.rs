//! `outlive exec`: without a terminal and without stdin, by ExecSync.

use std::io::Write as _;
use std::process::ExitCode;

use super::args::{ExecArgs, Global};
use super::client::Client;
use super::error::{self, Error};
use super::resolve;
use crate::api::cri;

/// Runs the program, prints what it wrote when it has ended, and ends as it did.
pub async fn run(global: &Global, args: ExecArgs) -> Result<ExitCode, Error> {
    let client = Client::connect(global).await?;
    let container = resolve::container(&client, &args.container).await?;
    let seconds = global.timeout.map(|limit| {
        // CRI counts whole seconds, and none means no limit.
        let whole = limit.as_secs() + u64::from(limit.subsec_nanos() > 0);
        i64::try_from(whole.max(1)).unwrap_or(i64::MAX)
    });
    let request = cri::ExecSyncRequest {
        container_id: container.id,
        cmd: args.command,
        timeout: seconds.unwrap_or(0),
    };
    let mut runtime = client.runtime();
    let call = runtime.exec_sync(request);
    // The supervisor keeps the time itself; the extra is for its answer.
    let limit = global
        .timeout
        .map(|limit| limit + std::time::Duration::from_secs(5));
    let answer = client
        .call_within(format!("exec in {}", args.container), limit, call)
        .await
        .map_err(Error::of_program)?;
    super::output::bytes(&answer.stdout)?;
    if let Err(source) = std::io::stderr().write_all(&answer.stderr) {
        error::warn(&format!("standard error: {source}"));
    }
    Ok(exit_code(answer.exit_code))
}

/// An exit code as CRI carries it. One that no process can have becomes 255, "unknown" among ours.
pub fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(255))
}
