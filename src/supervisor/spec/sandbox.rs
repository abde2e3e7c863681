//! What of a pod's configuration cannot be had or cannot be, told before anything is made of it.

use super::checks::{absolute, enumeration, id};
use super::namespaces::user;
use super::seccomp::profile;
use super::{HostFacts, SpecError, Support, resources};
use crate::api::cri::{self, SupplementalGroupsPolicy};

const FIELD: &str = "linux.security_context";

/// Checks what of a pod's configuration is not checked elsewhere: the names of `sysctls` and the modes of
/// `namespace_options` are by `pod::namespaces`; `metadata`, `hostname`, `dns_config`, `port_mappings`, `labels` and
/// `annotations` by `pod::check`.
///
/// What is checked here and means nothing to this supervisor, as CRI allows: `resources` and `overhead` tell of what
/// the containers' own limits come to; `run_as_user`, `readonly_rootfs`, `seccomp` and the like are for a process of
/// the pod's own, and there is none.
///
/// # Errors
/// The field.
pub fn check_sandbox(config: &cri::PodSandboxConfig, host: &HostFacts) -> Result<(), SpecError> {
    let cri::PodSandboxConfig {
        metadata: _,
        hostname: _,
        log_directory,
        dns_config: _,
        port_mappings: _,
        labels: _,
        annotations: _,
        linux,
        windows,
    } = config;
    if windows.is_some() {
        return Err(SpecError::unsupported("windows", "this is Linux"));
    }
    if !log_directory.is_empty() {
        absolute("log_directory", log_directory)?;
    }
    match linux {
        Some(linux) => check_linux(linux, host),
        None => Ok(()),
    }
}

fn check_linux(linux: &cri::LinuxPodSandboxConfig, host: &HostFacts) -> Result<(), SpecError> {
    let cri::LinuxPodSandboxConfig {
        cgroup_parent,
        security_context,
        sysctls: _,
        overhead,
        resources: sum,
    } = linux;
    check_cgroup_parent(cgroup_parent)?;
    for (name, told) in [("overhead", overhead), ("resources", sum)] {
        if let Some(told) = told {
            resources::resources(&format!("linux.{name}"), told, &lenient(host))?;
        }
    }
    let none = cri::LinuxSandboxSecurityContext::default();
    let context = security_context.as_ref().unwrap_or(&none);
    check_context(context)
}

/// A machine that can limit everything: what is only told is not refused for what the machine lacks.
fn lenient(host: &HostFacts) -> HostFacts {
    HostFacts {
        cgroups: super::CgroupVersion::V2,
        swap_accounting: Support::Present,
        hugetlb: Support::Present,
        ..host.clone()
    }
}

/// CRI's syntax is a path. kubelet writes the name of a slice where it is set to the systemd cgroup driver.
fn check_cgroup_parent(parent: &str) -> Result<(), SpecError> {
    let field = "linux.cgroup_parent";
    if parent.is_empty() {
        return Ok(());
    }
    if !parent.starts_with('/') && parent.ends_with(".slice") {
        return Err(SpecError::unsupported(
            field,
            "only the cgroupfs driver is, and that is a slice of systemd's",
        ));
    }
    absolute(field, parent)?;
    if parent.split('/').any(|name| name == "..") {
        return Err(SpecError::invalid(
            field,
            format!("{parent:?} has a \"..\""),
        ));
    }
    Ok(())
}

fn check_namespaces(modes: &cri::NamespaceOption) -> Result<(), SpecError> {
    let cri::NamespaceOption {
        network: _,
        pid: _,
        ipc: _,
        target_id,
        userns_options,
    } = modes;
    let field = |name: &str| format!("{FIELD}.namespace_options.{name}");
    if !target_id.is_empty() {
        return Err(SpecError::invalid(
            field("target_id"),
            "only a container has one",
        ));
    }
    user(&field("userns_options"), userns_options.as_ref())
}

/// Whether there is any word in it.
pub(super) fn check_selinux(
    field: &str,
    asked: Option<&cri::SeLinuxOption>,
) -> Result<(), SpecError> {
    match asked {
        Some(options) if *options != cri::SeLinuxOption::default() => {
            Err(SpecError::unsupported(field, "no SELinux yet"))
        }
        Some(_) | None => Ok(()),
    }
}

#[expect(deprecated, reason = "older clients send the text form")]
fn check_context(context: &cri::LinuxSandboxSecurityContext) -> Result<(), SpecError> {
    let cri::LinuxSandboxSecurityContext {
        namespace_options,
        selinux_options,
        run_as_user,
        run_as_group,
        readonly_rootfs: _,
        supplemental_groups,
        supplemental_groups_policy,
        privileged: _,
        seccomp,
        apparmor,
        seccomp_profile_path,
    } = context;
    let field = |name: &str| format!("{FIELD}.{name}");
    if let Some(modes) = namespace_options {
        check_namespaces(modes)?;
    }
    check_selinux(&field("selinux_options"), selinux_options.as_ref())?;
    if let Some(user) = run_as_user {
        id(&field("run_as_user"), user.value)?;
    }
    if let Some(group) = run_as_group {
        id(&field("run_as_group"), group.value)?;
        if run_as_user.is_none() {
            return Err(SpecError::invalid(
                field("run_as_group"),
                "run_as_user is not set",
            ));
        }
    }
    for (index, group) in supplemental_groups.iter().enumerate() {
        id(&field(&format!("supplemental_groups[{index}]")), *group)?;
    }
    enumeration::<SupplementalGroupsPolicy>(
        &field("supplemental_groups_policy"),
        *supplemental_groups_policy,
    )?;
    let old = field("seccomp_profile_path");
    profile(
        &field("seccomp"),
        seccomp.as_ref(),
        &old,
        seccomp_profile_path,
    )?;
    profile(&field("apparmor"), apparmor.as_ref(), "", "")?;
    Ok(())
}
