//! What of a container's mounts has to be done on the machine before a specification can name it. Blocks.

use std::fs;
use std::path::{Path, PathBuf};

use super::SpecError;
use super::checks::absolute;
use super::mounts::{destination, propagation};
use crate::api::cri::{self, MountPropagation};

/// The mounts' sources on the machine, one for each of `config.mounts`: links followed, missing directories made.
///
/// CRI says that a missing host path should be an error; containerd's plugin makes a directory, and Kubernetes's
/// `hostPath` volumes of no type count on it. critest leaves it open.
///
/// # Errors
/// The mount's field: a relative path, one that cannot be made or resolved, one that is to spread and is on no shared
/// mount.
pub fn prepare_mounts(config: &cri::ContainerConfig) -> Result<Vec<PathBuf>, SpecError> {
    let mut sources = Vec::new();
    for (index, mount) in config.mounts.iter().enumerate() {
        let field = format!("mounts[{index}].host_path");
        if mount.image.is_some() {
            return Err(SpecError::unsupported(
                format!("mounts[{index}].image"),
                "no image volumes yet",
            ));
        }
        destination(index, mount)?;
        let propagation = propagation(index, mount)?;
        let path = absolute(&field, &mount.host_path)?;
        let failed = |error: std::io::Error| {
            SpecError::invalid(field.as_str(), format!("{}: {error}", path.display()))
        };
        // Not the cleaned path: `..` behind a link leads elsewhere.
        let given = Path::new(&mount.host_path);
        if let Err(error) = fs::symlink_metadata(given) {
            if error.kind() != std::io::ErrorKind::NotFound {
                return Err(failed(error));
            }
            fs::create_dir_all(given).map_err(failed)?;
        }
        let source = fs::canonicalize(given).map_err(failed)?;
        spreads(&field, propagation, &source)?;
        sources.push(source);
    }
    Ok(sources)
}

/// Checks that what is mounted on one side can be seen on the other (mount_namespaces(7)).
fn spreads(field: &str, propagation: MountPropagation, source: &Path) -> Result<(), SpecError> {
    let wanted: &[&str] = match propagation {
        MountPropagation::PropagationPrivate => return Ok(()),
        MountPropagation::PropagationHostToContainer => &["shared:", "master:"],
        MountPropagation::PropagationBidirectional => &["shared:"],
    };
    let file = Path::new("/proc/self/mountinfo");
    let table = fs::read_to_string(file).map_err(SpecError::io("read", file))?;
    if peers(&table, source)
        .iter()
        .any(|tag| wanted.iter().any(|wanted| tag.starts_with(wanted)))
    {
        return Ok(());
    }
    Err(SpecError::invalid(
        field,
        format!("{} is on no shared mount", source.display()),
    ))
}

/// The optional fields of the mount that holds `path`, from the text of `mountinfo` (proc(5)).
fn peers<'a>(table: &'a str, path: &Path) -> Vec<&'a str> {
    let mut best: (usize, Vec<&str>) = (0, Vec::new());
    for line in table.lines() {
        let mut fields = line.split(' ');
        let Some(point) = fields.nth(4) else { continue };
        let point = PathBuf::from(unescape(point));
        let depth = point.components().count();
        // The last of equals covers those before it.
        if path.starts_with(&point) && depth >= best.0 {
            let tags = fields.skip(1).take_while(|field| *field != "-");
            best = (depth, tags.collect());
        }
    }
    best.1
}

/// Blanks and backslashes are written in octal.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::scratch::Scratch;
    use std::os::unix::fs::symlink;

    fn config(mount: cri::Mount) -> cri::ContainerConfig {
        cri::ContainerConfig {
            mounts: vec![mount],
            ..Default::default()
        }
    }

    fn mount(path: &Path) -> cri::Mount {
        cri::Mount {
            container_path: "/data".into(),
            host_path: path.to_str().unwrap().into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_missing_directory_is_made_and_a_link_followed() {
        let scratch = Scratch::new();
        let missing = scratch.path().join("a/b");
        assert_eq!(
            prepare_mounts(&config(mount(&missing))).unwrap(),
            std::slice::from_ref(&missing)
        );
        assert!(missing.is_dir());
        let link = scratch.path().join("link");
        symlink("a/b", &link).unwrap();
        assert_eq!(prepare_mounts(&config(mount(&link))).unwrap(), [missing]);
        let dangling = scratch.path().join("dangling");
        symlink("nowhere", &dangling).unwrap();
        let error = prepare_mounts(&config(mount(&dangling))).unwrap_err();
        assert_eq!(error.field(), Some("mounts[0].host_path"));
        for path in ["", "relative"] {
            let error = prepare_mounts(&config(mount(Path::new(path)))).unwrap_err();
            assert_eq!(error.field(), Some("mounts[0].host_path"));
        }
    }

    #[test]
    fn the_mount_that_holds_a_path_is_the_deepest_and_the_last() {
        let table = "1 0 8:1 / / rw shared:1 - ext4 /dev/a rw\n\
                     2 1 8:1 / /a\\040b rw,nosuid master:7 - ext4 /dev/a rw\n\
                     3 1 8:1 / /c rw shared:3 - ext4 /dev/a rw\n\
                     4 3 8:1 / /c rw - tmpfs tmpfs rw\n";
        assert_eq!(peers(table, Path::new("/x")), ["shared:1"]);
        assert_eq!(peers(table, Path::new("/a b/x")), ["master:7"]);
        assert_eq!(peers(table, Path::new("/c/x")), [""; 0]);
        assert_eq!(peers(table, Path::new("/cc")), ["shared:1"]);
    }
}
