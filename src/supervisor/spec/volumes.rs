//! What an image declares as volumes (image-spec, config.md, "Volumes"): one directory each, which goes with the container.
//!
//! | the place in the image | root filesystem writable | read-only |
//! |---|---|---|
//! | a directory | it is in the writable layer already | its content is copied to a directory of the container |
//! | nothing | an empty directory of the container | the same |
//! | a file | refused | refused |
//!
//! - A mount of the request at the same place replaces the volume, whatever is there.
//! - The kernel's file systems stay: a volume on `/proc`, `/sys` or `/dev` itself, or below `/proc` or `/sys`, is refused.
//!   One at a mount that every container has (`/sys/fs/cgroup`, `/dev/shm`, `/etc/hosts`) is that mount, as images that hold systemd
//!   expect.
//! - containerd copies in both cases (`internal/cri/opts/container.go`, `WithVolumes`); the writable layer makes one of
//!   them unnecessary.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;

use super::SpecError;
use super::checks::absolute;
use super::copy_up;
use super::layers::{Layers, Place};
use super::mounts::destination;
use crate::api::cri;

/// The field that errors name.
const FIELD: &str = "image config.Volumes";

/// Mounts of every container that a volume may name: they are there all the same.
const EVERYWHERE: [&str; 7] = [
    "/dev/pts",
    "/dev/shm",
    "/dev/mqueue",
    "/sys/fs/cgroup",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
];

/// A directory that stands in for one that the image declares as a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Where the container sees it.
    pub container_path: PathBuf,
    /// Where it is.
    pub host_path: PathBuf,
}

/// Makes the volumes of a container in `directory`; for [`super::Inputs::volumes`]. Blocks, for as long as the copying
/// of content takes.
///
/// # Errors
/// A place that no volume can have, by name; what the disk answered.
pub fn prepare_volumes(
    image: &ImageConfiguration,
    config: &cri::ContainerConfig,
    layers: &[PathBuf],
    directory: &Path,
) -> Result<Vec<Volume>, SpecError> {
    let linux = config.linux.as_ref();
    let context = linux.and_then(|linux| linux.security_context.as_ref());
    let read_only = context.is_some_and(|context| context.readonly_rootfs);
    let layers = Layers::new(layers);
    let mut volumes = Vec::new();
    for (number, container_path) in places(image, config)?.into_iter().enumerate() {
        let host_path = directory.join(number.to_string());
        let made = SpecError::io("make", &host_path);
        match layers.place(&container_path)? {
            Place::Directory(_) if !read_only => continue,
            Place::Directory(content) => {
                private(directory)
                    .and_then(|()| copy_up::directory(content, &host_path))
                    .map_err(made)?;
            }
            Place::Free => private(directory)
                .and_then(|()| make(&host_path))
                .map_err(made)?,
            Place::File => return Err(refused(&container_path, "is a file in the image")),
        }
        volumes.push(Volume {
            container_path,
            host_path,
        });
    }
    Ok(volumes)
}

/// The volumes that the request leaves to the image, each once, parents first.
fn places(
    image: &ImageConfiguration,
    config: &cri::ContainerConfig,
) -> Result<Vec<PathBuf>, SpecError> {
    let mut taken = Vec::new();
    for (index, mount) in config.mounts.iter().enumerate() {
        taken.push(destination(index, mount)?);
    }
    let declared = image
        .config()
        .as_ref()
        .and_then(|config| config.volumes().as_ref());
    let mut places = Vec::new();
    for place in declared.into_iter().flatten() {
        let place = absolute(FIELD, place)?;
        if taken.contains(&place) || EVERYWHERE.iter().any(|path| place == Path::new(path)) {
            continue;
        }
        if let Some(why) = why_not(&place) {
            return Err(refused(&place, why));
        }
        places.push(place);
    }
    // They come from a JSON object, which has no order.
    places.sort();
    places.dedup();
    Ok(places)
}

/// Why no volume can be at `place`, whatever the image has there.
fn why_not(place: &Path) -> Option<&'static str> {
    if place == Path::new("/") {
        Some("would hide the root filesystem")
    } else if place.starts_with("/proc") || place.starts_with("/sys") || place == Path::new("/dev")
    {
        Some("would hide a file system of the kernel")
    } else {
        None
    }
}

fn refused(place: &Path, why: &str) -> SpecError {
    SpecError::invalid(FIELD, format!("the volume {} {why}", place.display()))
}

/// The directory of the volumes, for us alone: what is in a volume may have the set-user-ID bit.
fn private(directory: &Path) -> std::io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

/// An empty directory as docker and containerd make one: 0755, root's, whatever the umask.
fn make(path: &Path) -> std::io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::scratch::Scratch;
    use std::os::unix::fs::{MetadataExt, chown};

    fn image(volumes: &str) -> ImageConfiguration {
        serde_json::from_str(&format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[]}},
                "config":{{"Volumes":{{{volumes}}}}}}}"#
        ))
        .unwrap()
    }

    fn config(readonly_rootfs: bool) -> cri::ContainerConfig {
        cri::ContainerConfig {
            linux: Some(cri::LinuxContainerConfig {
                security_context: Some(cri::LinuxContainerSecurityContext {
                    readonly_rootfs,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn mounted_at(path: &str) -> cri::ContainerConfig {
        cri::ContainerConfig {
            mounts: vec![cri::Mount {
                container_path: path.into(),
                ..Default::default()
            }],
            ..config(true)
        }
    }

    fn layer(scratch: &Scratch) -> PathBuf {
        let layer = scratch.path().join("layer");
        scratch.write("layer/data/file", "content");
        chown(layer.join("data"), Some(7), Some(8)).unwrap();
        fs::set_permissions(layer.join("data"), fs::Permissions::from_mode(0o1700)).unwrap();
        layer
    }

    #[test]
    fn a_place_that_no_layer_has_is_a_directory_and_content_is_copied_where_the_root_is_read_only()
    {
        let scratch = Scratch::new();
        let layers = [layer(&scratch)];
        let image = image(r#""/new":{},"/data/":{},"/dev/shm":{},"/sys/fs/cgroup":{}"#);
        for (read_only, expected) in [(false, vec!["/new"]), (true, vec!["/data", "/new"])] {
            let at = scratch.path().join(format!("volumes-{read_only}"));
            let made = prepare_volumes(&image, &config(read_only), &layers, &at).unwrap();
            assert_eq!(fs::metadata(&at).unwrap().mode() & 0o7777, 0o700);
            let paths: Vec<_> = made.iter().map(|made| &made.container_path).collect();
            assert_eq!(paths, expected.iter().map(Path::new).collect::<Vec<_>>());
            for Volume {
                container_path,
                host_path,
            } in &made
            {
                let meta = fs::metadata(host_path).unwrap();
                let found = (meta.uid(), meta.gid(), meta.mode() & 0o7777);
                if container_path == Path::new("/data") {
                    assert_eq!(found, (7, 8, 0o1700));
                    let file = host_path.join("file");
                    assert_eq!(fs::read_to_string(file).unwrap(), "content");
                } else {
                    assert_eq!(found, (0, 0, 0o755));
                }
            }
        }
    }

    #[test]
    fn a_volume_where_none_can_be_is_refused_by_name() {
        let scratch = Scratch::new();
        let layers = [layer(&scratch)];
        let at = scratch.path().join("volumes");
        for place in [
            "relative",
            "",
            "/",
            "/proc",
            "/proc/sys",
            "/sys",
            "/sys/kernel",
            "/dev",
            "/data/file",
            "/data/file/below",
        ] {
            for read_only in [false, true] {
                let image = image(&format!(r#""{place}":{{}}"#));
                let error = prepare_volumes(&image, &config(read_only), &layers, &at).unwrap_err();
                assert_eq!(error.field(), Some(FIELD), "{place}");
                assert!(error.to_string().contains(place), "{error}");
            }
        }
        assert!(!at.exists());
    }

    #[test]
    fn a_mount_of_the_request_replaces_a_volume() {
        let scratch = Scratch::new();
        let layers = [layer(&scratch)];
        let at = scratch.path().join("volumes");
        for place in ["/data", "/data/file", "/proc"] {
            let image = image(&format!(r#""{place}":{{}}"#));
            let made = prepare_volumes(&image, &mounted_at(place), &layers, &at);
            assert_eq!(made.unwrap(), [], "{place}");
        }
    }
}
