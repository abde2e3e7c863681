//! The `-info` action: what this runtime is and what its OCI runtime can do, as a protobuf `RuntimeInfo`.

use std::io;
use std::time::Duration;

use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};

use super::bootstrap;
use super::create::oci_runtime;
use crate::config::{OptionsError, ShimOptions};
use crate::oci::driver::CallStdio;
use crate::oci::{Command, OciError};
use crate::types::{ContainerId, IdError, Namespace};

const NAME: &str = "io.containerd.outlive.v2";
/// containerd's own name for the OCI `features` document.
const FEATURES_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";
const FEATURES_LIMIT: Duration = Duration::from_secs(10);

/// Why there is no information.
#[derive(Debug, thiserror::Error)]
pub enum InfoError {
    /// stdin cannot be read.
    #[error("read options from stdin")]
    Read(#[source] io::Error),
    /// The options.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// stdin, or the answer.
    #[error("protobuf")]
    Protobuf(#[from] containerd_shim_protos::protobuf::Error),
    /// The OCI runtime.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// A constant of ours.
    #[error(transparent)]
    Id(#[from] IdError),
}

/// Gives the encoded message for stdout. An OCI runtime without the `features` subcommand is told without features.
///
/// # Errors
/// [`InfoError`].
pub fn run() -> Result<Vec<u8>, InfoError> {
    let input = bootstrap::read_stdin().map_err(InfoError::Read)?;
    let any = Any::parse_from_bytes(&input)?;
    let sent = Some(any).filter(|any| !any.type_url.is_empty());
    let options = ShimOptions::from_any(sent.as_ref())?;
    let runtime = oci_runtime(&options, &Namespace::new("info")?);
    let id = ContainerId::new("info")?;
    let (spawn, call) = runtime.prepare(&Command::Features, &id, None, CallStdio::Captured)?;
    let features = match call.run_blocking(spawn, FEATURES_LIMIT) {
        Ok(json) => Some(Any {
            type_url: FEATURES_TYPE.to_owned(),
            value: json,
            ..Any::default()
        }),
        Err(OciError::Failed { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let version = RuntimeVersion {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..RuntimeVersion::default()
    };
    let info = RuntimeInfo {
        name: NAME.to_owned(),
        version: Some(version).into(),
        options: sent.into(),
        features: features.into(),
        ..RuntimeInfo::default()
    };
    Ok(info.write_to_bytes()?)
}
