//! The OCI runtime specification of a container, made from what CRI asks for.
//!
//! ```text
//! prepare_mounts, prepare_volumes      on the machine: directories made, links followed
//!        |
//!        v
//! container(Inputs) -> Spec            decides; reads the image's passwd and group, a seccomp profile, device nodes
//!        |
//!        +--> set_target               at StartContainer, for a pid namespace of TARGET
//!        +--> exec_process             at ExecSync
//! resources, updated                   at UpdateContainerResources
//! check_sandbox                        at RunPodSandbox
//! ```
//!
//! Nothing is ignored: each message of CRI is taken apart field by field (a new field does not compile), and each field
//! shows in the specification, is refused with its name, or is one of these, which CreateContainer itself answers for:
//! `metadata`, `image`, `labels`, `log_path`.
//!
//! Where CRI leaves a choice, containerd's is taken, with the reason beside it. Two that concern several files:
//!
//! - **Masked and read-only paths**: an empty list means the OCI's default paths, since on the wire it is the same as
//!   none. kubelet's `procMount: Unmasked` sends an empty list too; Kubernetes allows that in user namespaces only, and
//!   those are refused here. Privileged containers have neither.
//! - **Privileged** has what CRI says it has, and then capabilities, seccomp and AppArmor that are asked for as well have
//!   no effect, as CRI says too. They are checked all the same.

mod capabilities;
mod checks;
mod devices;
mod error;
mod host;
mod layers;
mod mounts;
mod namespaces;
mod prepare;
mod process;
mod resources;
mod sandbox;
mod seccomp;
mod signal;
#[cfg(test)]
mod tests;
mod user;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::{
    Linux, PosixRlimitBuilder, PosixRlimitType, Process, Root, Spec, get_default_maskedpaths,
    get_default_readonly_paths,
};

use crate::api::cri;
use crate::types::{ContainerId, Pid};

pub use error::SpecError;
pub use host::{CgroupVersion, HostFacts, Limit, Support};
pub use mounts::{PodFiles, Volume};
pub use namespaces::{PodNamespace, PodNamespaces, PodPid, set_target};
pub use prepare::{prepare_mounts, prepare_volumes};
pub use process::exec_process;
pub use resources::{resources, updated};
pub use sandbox::check_sandbox;
pub use signal::stop_signal;

/// What runc 1.1 and crun 1.8 know.
const OCI_VERSION: &str = "1.0.2";
const CONTEXT: &str = "linux.security_context";
/// Annotations by which shims tell which containers share one (containerd's `runc.v2` shim, ours too). Each container
/// has its own here; they stay what CRI has them for, notes that ContainerStatus gives back.
const NOT_FOR_THE_SHIM: [&str; 2] = ["io.containerd.", "io.kubernetes.cri."];

/// What a specification is made of.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The container.
    pub id: &'a ContainerId,
    /// What is asked for.
    pub config: &'a cri::ContainerConfig,
    /// Its pod, as it was asked for.
    pub pod: &'a cri::PodSandboxConfig,
    /// Its image.
    pub image: &'a ImageConfiguration,
    /// The directories of the image's layers, the lowest first.
    pub layers: &'a [PathBuf],
    /// The pod's namespaces.
    pub namespaces: &'a PodNamespaces,
    /// The init of the container that `namespace_options.target_id` names.
    pub target: Option<Pid>,
    /// The pod's files.
    pub files: &'a PodFiles,
    /// What [`prepare_mounts`] answered.
    pub mounts: &'a [PathBuf],
    /// What [`prepare_volumes`] answered.
    pub volumes: &'a [Volume],
    /// The pod's control group, absolute; the container's is below it, named by its id.
    pub cgroup_parent: &'a str,
    /// Where seccomp profiles with relative names are.
    pub seccomp_root: &'a Path,
    /// The machine.
    pub host: &'a HostFacts,
    /// Whether the container's OCI runtime has recursive read-only mounts: `supervisor::features`.
    pub recursive_read_only: Support,
}

/// Whether a container is confined at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Privilege {
    Privileged,
    Confined,
}

/// Makes the specification. Blocks for a few small files.
///
/// # Errors
/// The field that cannot be or is not supported, or the file that cannot be read.
pub fn container(inputs: &Inputs<'_>) -> Result<Spec, SpecError> {
    supported(inputs.config)?;
    let no_linux = cri::LinuxContainerConfig::default();
    let cri::LinuxContainerConfig {
        resources: limits,
        security_context,
    } = inputs.config.linux.as_ref().unwrap_or(&no_linux);
    let no_context = cri::LinuxContainerSecurityContext::default();
    let context = security_context.as_ref().unwrap_or(&no_context);
    let no_limits = cri::LinuxContainerResources::default();
    let limits = limits.as_ref().unwrap_or(&no_limits);

    let privilege = privilege(context, inputs.pod)?;
    let chosen = namespaces::choose(context.namespace_options.as_ref(), privilege, inputs)?;
    let rootfs = mounts::Access::read_only(context.readonly_rootfs);
    let mounts = mounts::mounts(inputs, privilege, chosen.ipc, rootfs)?;
    let devices = devices::devices(&inputs.config.devices, privilege, Path::new("/dev"))?;
    let mut resources = resources::resources("linux.resources", limits, inputs.host)?;
    resources.set_devices(Some(devices.rules));
    let process = first_process(inputs, context, privilege, limits)?;
    let capabilities = process.capabilities().as_ref();
    let bounding = capabilities.and_then(|sets| sets.bounding().clone());
    let seccomp = seccomp::seccomp(
        context,
        privilege,
        &bounding.unwrap_or_default(),
        inputs.seccomp_root,
    )?;
    let [masked_paths, readonly_paths] = paths(context, privilege)?;

    let mut linux = Linux::default();
    linux
        .set_resources(Some(resources))
        .set_cgroups_path(Some(cgroups_path(inputs)?))
        .set_namespaces(Some(chosen.namespaces))
        .set_devices(Some(devices.devices))
        .set_seccomp(seccomp)
        .set_rootfs_propagation(mounts.rootfs_propagation.map(str::to_owned))
        .set_masked_paths(masked_paths)
        .set_readonly_paths(readonly_paths);
    let mut root = Root::default();
    root.set_path("rootfs".into())
        .set_readonly(Some(context.readonly_rootfs));
    let mut spec = Spec::default();
    spec.set_version(OCI_VERSION.to_owned())
        .set_root(Some(root))
        .set_mounts(Some(mounts.mounts))
        .set_process(Some(process))
        // The pod's host name is in the namespace already.
        .set_hostname(None)
        .set_annotations(Some(notes(&inputs.config.annotations)))
        .set_linux(Some(linux));
    Ok(spec)
}

/// Takes the configuration apart, so that no field of it is forgotten, and refuses what no container can have yet.
fn supported(config: &cri::ContainerConfig) -> Result<(), SpecError> {
    let cri::ContainerConfig {
        metadata: _,
        image: _,
        labels: _,
        log_path: _,
        command: _,
        args: _,
        working_dir: _,
        envs: _,
        mounts: _,
        devices: _,
        annotations: _,
        stdin,
        stdin_once,
        tty,
        linux: _,
        windows,
        cdi_devices,
    } = config;
    for (field, asked, reason) in [
        ("stdin", *stdin, "no input yet"),
        ("stdin_once", *stdin_once, "no input yet"),
        ("tty", *tty, "no terminals yet"),
        ("windows", windows.is_some(), "this is Linux"),
        ("cdi_devices", !cdi_devices.is_empty(), "no CDI yet"),
    ] {
        if asked {
            return Err(SpecError::unsupported(field, reason));
        }
    }
    Ok(())
}

/// Takes the security context apart, so that no field of it is forgotten; what is not decided here is by who is
/// called with all of it.
#[expect(deprecated, reason = "older clients send the text forms of profiles")]
fn privilege(
    context: &cri::LinuxContainerSecurityContext,
    pod: &cri::PodSandboxConfig,
) -> Result<Privilege, SpecError> {
    let cri::LinuxContainerSecurityContext {
        privileged,
        selinux_options,
        capabilities: _,
        namespace_options: _,
        run_as_user: _,
        run_as_group: _,
        run_as_username: _,
        readonly_rootfs: _,
        supplemental_groups: _,
        supplemental_groups_policy: _,
        no_new_privs: _,
        masked_paths: _,
        readonly_paths: _,
        seccomp: _,
        apparmor: _,
        apparmor_profile: _,
        seccomp_profile_path: _,
    } = context;
    let selinux = format!("{CONTEXT}.selinux_options");
    sandbox::check_selinux(&selinux, selinux_options.as_ref())?;
    if !*privileged {
        return Ok(Privilege::Confined);
    }
    let pod = pod.linux.as_ref();
    let pod = pod.and_then(|linux| linux.security_context.as_ref());
    if pod.is_some_and(|context| context.privileged) {
        Ok(Privilege::Privileged)
    } else {
        Err(SpecError::invalid(
            format!("{CONTEXT}.privileged"),
            "the pod is not privileged",
        ))
    }
}

fn first_process(
    inputs: &Inputs<'_>,
    context: &cri::LinuxContainerSecurityContext,
    privilege: Privilege,
    limits: &cri::LinuxContainerResources,
) -> Result<Process, SpecError> {
    let capabilities =
        capabilities::capabilities(context.capabilities.as_ref(), privilege, inputs.host)?;
    let layers = layers::Layers::new(inputs.layers);
    let user = user::user(context, process::image_user(inputs.image), layers)?;
    let score = resources::oom_score_adj("linux.resources", limits.oom_score_adj)?;
    let open_files = PosixRlimitBuilder::default()
        .typ(PosixRlimitType::RlimitNofile)
        .soft(inputs.host.open_files.soft)
        .hard(inputs.host.open_files.hard);
    let mut process = Process::default();
    process
        .set_terminal(Some(false))
        .set_user(user)
        .set_args(Some(process::arguments(inputs.config, inputs.image)?))
        .set_env(Some(process::environment(inputs)?))
        .set_cwd(process::working_dir(inputs.config, inputs.image)?)
        .set_capabilities(Some(capabilities))
        // Every field has a default, so that the builder cannot fail.
        .set_rlimits(Some(open_files.build().into_iter().collect()))
        .set_no_new_privileges(Some(context.no_new_privs))
        .set_apparmor_profile(apparmor(context, privilege, inputs.host)?)
        .set_oom_score_adj(Some(inputs.host.oom_score_adj(score)));
    Ok(process)
}

/// The profile's name. There is none of our own: its default is no profile where the machine has no AppArmor, and
/// refused where it has.
#[expect(deprecated, reason = "older clients send the text form")]
fn apparmor(
    context: &cri::LinuxContainerSecurityContext,
    privilege: Privilege,
    host: &HostFacts,
) -> Result<Option<String>, SpecError> {
    let field = format!("{CONTEXT}.apparmor");
    let old = format!("{CONTEXT}.apparmor_profile");
    let asked = context.apparmor.as_ref();
    let profile = seccomp::profile(&field, asked, &old, &context.apparmor_profile)?;
    let blamed = if asked.is_some() { field } else { old };
    match (profile, privilege, host.apparmor) {
        (_, Privilege::Privileged, _) | (None | Some(seccomp::Profile::Unconfined), _, _) => {
            Ok(None)
        }
        (Some(seccomp::Profile::RuntimeDefault), _, Support::Absent) => Ok(None),
        (Some(seccomp::Profile::RuntimeDefault), _, Support::Present) => Err(
            SpecError::unsupported(blamed, "there is no default profile yet"),
        ),
        (Some(seccomp::Profile::Localhost(_)), _, Support::Absent) => Err(SpecError::unsupported(
            blamed,
            "the machine has no AppArmor",
        )),
        (Some(seccomp::Profile::Localhost(name)), _, Support::Present) => {
            checks::text(&blamed, &name)?;
            Ok(Some(name))
        }
    }
}

/// Masked and read-only paths.
fn paths(
    context: &cri::LinuxContainerSecurityContext,
    privilege: Privilege,
) -> Result<[Option<Vec<String>>; 2], SpecError> {
    for (name, list) in [
        ("masked_paths", &context.masked_paths),
        ("readonly_paths", &context.readonly_paths),
    ] {
        for (index, path) in list.iter().enumerate() {
            checks::absolute(&format!("{CONTEXT}.{name}[{index}]"), path)?;
        }
    }
    let or = |asked: &[String], default: fn() -> Vec<String>| {
        Some(if asked.is_empty() {
            default()
        } else {
            asked.to_vec()
        })
    };
    Ok(match privilege {
        Privilege::Privileged => [None, None],
        Privilege::Confined => [
            or(&context.masked_paths, get_default_maskedpaths),
            or(&context.readonly_paths, get_default_readonly_paths),
        ],
    })
}

fn cgroups_path(inputs: &Inputs<'_>) -> Result<PathBuf, SpecError> {
    let parent = checks::absolute("linux.cgroup_parent", inputs.cgroup_parent)?;
    Ok(parent.join(inputs.id.as_str()))
}

/// The annotations that the OCI runtime gets.
fn notes(annotations: &HashMap<String, String>) -> HashMap<String, String> {
    let mut notes = annotations.clone();
    notes.retain(|key, _| {
        let shims = NOT_FOR_THE_SHIM
            .iter()
            .any(|prefix| key.starts_with(prefix));
        !shims
    });
    notes
}
