//! CreateContainer: everything that can be wrong is found here, and the container appears in one step.
//!
//! ```text
//! checks, name --> spec --> .new-ID/ with all files --> renamed to ID/ --> in the store, CREATED
//!                           (recovery removes it)       (it exists)
//! ```

use std::fs::{DirBuilder, Permissions, set_permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::runtime::Spec;

use crate::api::cri;
use crate::images::{Image, RootAttributes};
use crate::supervisor::context::Supervisor;
use crate::supervisor::crash;
use crate::supervisor::error::Error;
use crate::supervisor::features;
use crate::supervisor::pod::{check, sandbox};
use crate::supervisor::spec::{self, Support};
use crate::supervisor::store::{
    self, Checkpoint, Container, ContainerMeta, ContainerStatus, Kind, Pod, PodMeta, Recovery,
    Saved, StoreError,
};
use crate::sys::{file, worker};
use crate::types::{ContainerId, Pid, Timestamp};

use super::joins;
use super::start::check_target;

/// CreateContainer.
///
/// # Errors
/// [`Error`]; then nothing of it is left.
pub async fn create(
    supervisor: &Arc<Supervisor>,
    request: cri::CreateContainerRequest,
) -> Result<ContainerId, Error> {
    let mut config = request
        .config
        .ok_or_else(|| Error::invalid("config", "is missing"))?;
    let pod = supervisor.store.pod(&request.pod_sandbox_id)?;
    let pod_meta = ready(&pod)?;
    check::container(&config)?;
    let id = store::blocking("draw", "/dev/urandom".into(), store::new_id).await?;
    let name = ContainerMeta::name(&config, &pod_meta.config);
    let name = supervisor.store.names().take(Kind::Container, &name, &id)?;
    crash::point("create.named");
    let image = find_image(supervisor, &config).await?;
    name_image(&mut config, &image);
    let runtime = supervisor
        .config
        .runtime(&pod_meta.runtime)
        .ok_or_else(|| Error::invalid("runtime_handler", "is not configured any more"))?;
    let mut meta = ContainerMeta {
        id: id.clone(),
        pod: pod.id().clone(),
        runtime: runtime.name.clone(),
        image_id: image.id.clone(),
        layers: image.layers.clone(),
        log_path: log_path(&config, &pod_meta.config)?,
        user: None,
        stop_signal: spec::stop_signal(&image.config)?,
        created_at: Timestamp::now(),
        config,
    };
    let target = check_target(supervisor, &meta)?;
    let recursive_read_only = match needs_recursive_read_only(&meta.config) {
        true => features::recursive_read_only(supervisor, runtime).await,
        false => Support::Absent,
    };
    let needs = Needs {
        image,
        target,
        recursive_read_only,
    };
    let Specified { spec, user, root } = spec(supervisor, &pod, &meta, needs).await?;
    meta.user = Some(user);
    crash::gate("create.specified").await;
    let checkpoint = Checkpoint {
        status: ContainerStatus::Created {
            created_at: meta.created_at,
        },
        resources: meta
            .config
            .linux
            .as_ref()
            .and_then(|linux| linux.resources.clone())
            .unwrap_or_default(),
    };
    let dir = supervisor.store.layout().container(&id);
    // Whoever stops or removes the pod finds the container, or the container finds that the pod is not ready any more.
    let _working = pod.lock_work().await;
    if let Err(error) = ready(&pod) {
        let new = on_its_way(&dir, &id);
        store::blocking("remove", new.clone(), move || remove_all(&new)).await?;
        return Err(error);
    }
    commit(&dir, &meta, &checkpoint, (spec, root)).await?;
    crash::point("create.committed");
    let container = Container::new(
        id.clone(),
        supervisor.store.layout().files(&id),
        Some(meta),
        (checkpoint, Saved::Yes),
        Some(name),
        Recovery::Done,
    );
    supervisor.store.insert_container(container);
    let created = cri::ContainerEventType::ContainerCreatedEvent;
    supervisor.events.publish(&supervisor.store, &id, created);
    Ok(id)
}

fn ready(pod: &Pod) -> Result<&PodMeta, Error> {
    match pod.meta() {
        Some(meta) if pod.is_ready() => Ok(meta),
        _ => Err(Error::WrongState {
            subject: format!("pod {}", pod.id()),
            state: "not ready".to_owned(),
            needed: "containers are created in a ready pod only",
        }),
    }
}

async fn find_image(
    supervisor: &Arc<Supervisor>,
    config: &cri::ContainerConfig,
) -> Result<Arc<Image>, Error> {
    let name = config.image.as_ref().map_or("", |image| &image.image);
    if name.is_empty() {
        return Err(Error::invalid("config.image.image", "is empty"));
    }
    let (images, name) = (supervisor.images.clone(), name.to_owned());
    let found = worker::run(move || images.get(&name)).await;
    Ok(found.map_err(interrupted)??)
}

/// Where the request names the image by its id only, adds one of the image's names for ContainerStatus to show. The
/// image may lose that name, or be removed, before the container is.
fn name_image(config: &mut cri::ContainerConfig, image: &Image) {
    let Some(asked) = &mut config.image else {
        return;
    };
    let digits = |id: &str| id.strip_prefix("sha256:").unwrap_or(id).to_owned();
    let by_id = digits(&image.id).starts_with(&digits(&asked.image));
    if asked.user_specified_image.is_empty() && by_id {
        let name = image.tags.first().or(image.digests.first());
        asked.user_specified_image = name.cloned().unwrap_or_default();
    }
}

fn interrupted(error: worker::Panicked) -> StoreError {
    StoreError {
        operation: "work on",
        path: PathBuf::new(),
        source: io::Error::other(error),
    }
}

/// Only a mount that asks for it makes it worth asking the shim.
fn needs_recursive_read_only(config: &cri::ContainerConfig) -> bool {
    config.mounts.iter().any(|mount| mount.recursive_read_only)
}

/// What a specification needs besides the request.
struct Needs {
    image: Arc<Image>,
    target: Option<Pid>,
    recursive_read_only: Support,
}

/// What is written of a new container.
struct Specified {
    /// The OCI spec as JSON.
    spec: Vec<u8>,
    /// The user in it.
    user: cri::LinuxContainerUser,
    /// Mode and owner of its `/`.
    root: RootAttributes,
}

/// Specifies a container. The volumes that the spec names are made in the directory that is on its way to be the
/// container's.
async fn spec(
    supervisor: &Arc<Supervisor>,
    pod: &Arc<Pod>,
    meta: &ContainerMeta,
    needs: Needs,
) -> Result<Specified, Error> {
    let (supervisor, pod, meta) = (Arc::clone(supervisor), Arc::clone(pod), meta.clone());
    let made = worker::run(move || {
        let asked = pod
            .meta()
            .ok_or_else(|| Error::invalid("pod_sandbox_id", "has no metadata"))?;
        let dir = supervisor.store.layout().container(&meta.id);
        let made = write_spec(&supervisor, asked, &meta, &needs, &dir);
        if made.is_err() {
            // The first error is the one to tell; what cannot be removed stays for recovery.
            drop(std::fs::remove_dir_all(on_its_way(&dir, &meta.id)));
        }
        made
    });
    made.await.map_err(interrupted)?
}

fn write_spec(
    supervisor: &Supervisor,
    pod: &PodMeta,
    meta: &ContainerMeta,
    needs: &Needs,
    dir: &Path,
) -> Result<Specified, Error> {
    let layout = supervisor.store.layout();
    let layers: Vec<PathBuf> = meta
        .layers
        .iter()
        .map(|layer| supervisor.images.layer(layer))
        .collect();
    let new = on_its_way(dir, &meta.id);
    let at = new.join("volumes");
    let mut volumes = spec::prepare_volumes(&needs.image.config, &meta.config, &layers, &at)?;
    for volume in &mut volumes {
        // Where it is when the container is there.
        if let Ok(inside) = volume.host_path.strip_prefix(&new) {
            volume.host_path = dir.join(inside);
        }
    }
    let spec = spec::container(&spec::Inputs {
        id: &meta.id,
        config: &meta.config,
        pod: &pod.config,
        image: &needs.image.config,
        layers: &layers,
        namespaces: &joins::namespaces(layout, pod)?,
        target: needs.target,
        files: &joins::files(layout, pod)?,
        mounts: &spec::prepare_mounts(&meta.config)?,
        volumes: &volumes,
        cgroup_parent: &sandbox::cgroup_parent(&supervisor.config, pod),
        seccomp_root: &supervisor.config.seccomp_profile_root,
        host: &supervisor.host,
        recursive_read_only: needs.recursive_read_only,
    })?;
    let json = serde_json::to_vec(&spec);
    let json = json.map_err(|error| Error::invalid("config", error.to_string()))?;
    Ok(Specified {
        spec: json,
        user: user(&spec),
        root: supervisor.images.root_attributes(&meta.layers)?,
    })
}

/// The user of the first process, as ContainerStatus shows it.
fn user(spec: &Spec) -> cri::LinuxContainerUser {
    let process = spec.process().as_ref();
    process.map_or_else(Default::default, |process| {
        let user = process.user();
        let further = user.additional_gids().iter().flatten();
        cri::LinuxContainerUser {
            uid: user.uid().into(),
            gid: user.gid().into(),
            supplemental_groups: further.map(|gid| (*gid).into()).collect(),
        }
    })
}

/// What becomes `dir` in one step.
fn on_its_way(dir: &Path, id: &ContainerId) -> PathBuf {
    dir.with_file_name(format!(".new-{id}"))
}

/// `log_path` is relative to the pod's `log_directory` (cri-api, `ContainerConfig.log_path`).
fn log_path(
    config: &cri::ContainerConfig,
    pod: &cri::PodSandboxConfig,
) -> Result<Option<PathBuf>, Error> {
    if config.log_path.is_empty() || pod.log_directory.is_empty() {
        return Ok(None);
    }
    let path = Path::new(&pod.log_directory).join(&config.log_path);
    let leads_out = path
        .components()
        .any(|part| part == std::path::Component::ParentDir);
    if !path.is_absolute() || leads_out {
        return Err(Error::invalid(
            "config.log_path",
            format!("{path:?} must be absolute, without \"..\""),
        ));
    }
    Ok(Some(path))
}

fn remove_all(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Writes everything beside its place and moves it there: it is there whole, or not at all.
async fn commit(
    dir: &Path,
    meta: &ContainerMeta,
    checkpoint: &Checkpoint,
    (spec, root): (Vec<u8>, RootAttributes),
) -> Result<(), Error> {
    let new = on_its_way(dir, &meta.id);
    let (dir, meta, checkpoint) = (dir.to_owned(), meta.clone(), checkpoint.clone());
    store::blocking("create", dir.clone(), move || {
        let made = write_new(&new, &meta, &checkpoint, (&spec, root)).and_then(|()| {
            crash::point("create.written");
            std::fs::rename(&new, &dir)?;
            file::sync_parent(&dir)
        });
        if made.is_err() {
            // What is in the way stays for recovery; the first error is the one to tell.
            drop(std::fs::remove_dir_all(&new));
        }
        made
    })
    .await?;
    Ok(())
}

fn write_new(
    new: &Path,
    meta: &ContainerMeta,
    checkpoint: &Checkpoint,
    (spec, root): (&[u8], RootAttributes),
) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(new)?;
    for part in ["upper", "work"] {
        std::fs::create_dir(new.join(part))?;
    }
    // Overlayfs shows the root as the upper directory has it; the umask has no say, and chown(2) clears set-user-ID.
    let upper = new.join("upper");
    chown(&upper, Some(root.uid), Some(root.gid))?;
    set_permissions(&upper, Permissions::from_mode(root.mode))?;
    file::replace(&new.join("config.json"), spec)?;
    checkpoint.write(&new.join("status.json"))?;
    meta.write(&new.join("container.json"))
}
