//! `outlive version`.

use serde_json::json;

use super::args::{Format, Global};
use super::client::Client;
use super::error::Error;
use super::output;
use crate::api::cri;

/// Prints this program's version, then the supervisor's: of the two, one may have been upgraded.
pub async fn run(global: &Global) -> Result<(), Error> {
    let own = env!("CARGO_PKG_VERSION");
    let asked = async {
        let client = Client::connect(global).await?;
        let mut runtime = client.runtime();
        let request = cri::VersionRequest {
            version: "v1".to_owned(),
        };
        client.call("version", runtime.version(request)).await
    };
    match (asked.await, global.output) {
        (Ok(server), Format::Json) => output::json(&json!({
            "client": own,
            "runtime_name": server.runtime_name,
            "runtime_version": server.runtime_version,
            "runtime_api_version": server.runtime_api_version,
        })),
        (Ok(server), Format::Table) => output::text(&format!(
            "client:      outlive {own}\nsupervisor:  {} {}\nAPI:         CRI {}\n",
            server.runtime_name, server.runtime_version, server.runtime_api_version
        )),
        (Err(error), Format::Json) => {
            output::json(&json!({ "client": own }))?;
            Err(error)
        }
        (Err(error), Format::Table) => {
            output::text(&format!("client:      outlive {own}\n"))?;
            Err(error)
        }
    }
}
