//! `LinuxContainerResources.unified`: limits by the names of the control group's files.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxPidsBuilder, LinuxResources};

use super::{CgroupVersion, SpecError};

/// The file that limits processes in both versions of control groups.
const PIDS_MAX: &str = "pids.max";

/// What is set in files of the container's group by their names. Version 1 has other files: of these only `pids.max` is
/// the same there, and the OCI runtime refuses the whole list.
pub(super) fn set(
    resources: &mut LinuxResources,
    field: &str,
    unified: &HashMap<String, String>,
    version: CgroupVersion,
) -> Result<(), SpecError> {
    match (version, unified.get(PIDS_MAX), unified.len()) {
        (_, None, 0) => Ok(()),
        // The file's own word for no limit.
        (CgroupVersion::V1, Some(most), 1) if most == "max" => Ok(()),
        (CgroupVersion::V1, Some(most), 1) => {
            let most = most.parse().ok().filter(|&most: &i64| most > 0);
            let most = most.ok_or_else(|| {
                SpecError::invalid(field, "pids.max must be max or a positive number")
            })?;
            // Its one field is given, so that the builder cannot fail.
            resources.set_pids(LinuxPidsBuilder::default().limit(most).build().ok());
            Ok(())
        }
        (CgroupVersion::V1, ..) => Err(SpecError::unsupported(
            field,
            "the machine has control groups version 1, of which only pids.max is supported",
        )),
        (CgroupVersion::V2, ..) => {
            // A key is a file of the container's group.
            let mut keys = unified.keys();
            if let Some(key) = keys.find(|key| key.contains('/') || !key.contains('.')) {
                return Err(SpecError::invalid(
                    field,
                    format!("{key:?} is no file of a control group"),
                ));
            }
            resources.set_unified(Some(unified.clone()));
            Ok(())
        }
    }
}
