//! What of a pod's configuration cannot be had or cannot be, told before anything is made of it.

use std::net::IpAddr;

use super::checks::{absolute, enumeration, id, text};
use super::namespaces::user;
use super::seccomp::profile;
use super::{HostFacts, SpecError, Support, resources};
use crate::api::cri::{self, NamespaceMode, Protocol, SupplementalGroupsPolicy};

const FIELD: &str = "linux.security_context";
/// The kernel's `__NEW_UTS_LEN` (sethostname(2)).
const MAX_HOSTNAME: usize = 64;
/// The parameters of System V IPC that are an IPC namespace's own (ipc_namespaces(7)), as runc checks them.
const IPC_SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Checks a pod's configuration.
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
        hostname,
        log_directory,
        dns_config,
        port_mappings,
        labels: _,
        annotations: _,
        linux,
        windows,
    } = config;
    if windows.is_some() {
        return Err(SpecError::unsupported("windows", "this is Linux"));
    }
    check_hostname(hostname)?;
    if !log_directory.is_empty() {
        absolute("log_directory", log_directory)?;
    }
    if let Some(dns) = dns_config {
        check_dns(dns)?;
    }
    for (index, mapping) in port_mappings.iter().enumerate() {
        check_port(index, mapping)?;
    }
    match linux {
        Some(linux) => check_linux(linux, host),
        None => Ok(()),
    }
}

fn check_hostname(hostname: &str) -> Result<(), SpecError> {
    let sound = hostname.len() <= MAX_HOSTNAME
        && hostname
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if sound {
        return Ok(());
    }
    Err(SpecError::invalid(
        "hostname",
        format!("{hostname:?} is not at most 64 letters, digits, dots and dashes"),
    ))
}

/// Each entry becomes a word of resolv.conf(5).
fn check_dns(dns: &cri::DnsConfig) -> Result<(), SpecError> {
    let cri::DnsConfig {
        servers,
        searches,
        options,
    } = dns;
    for (index, server) in servers.iter().enumerate() {
        // An address may name its interface: fe80::1%eth0.
        let address = server.split('%').next().unwrap_or("");
        if address.parse::<IpAddr>().is_err() || server.contains(char::is_whitespace) {
            return Err(SpecError::invalid(
                format!("dns_config.servers[{index}]"),
                format!("{server:?} is no address"),
            ));
        }
    }
    for (name, words) in [("searches", searches), ("options", options)] {
        for (index, word) in words.iter().enumerate() {
            if word.is_empty() || word.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return Err(SpecError::invalid(
                    format!("dns_config.{name}[{index}]"),
                    format!("{word:?} is not one word"),
                ));
            }
        }
    }
    Ok(())
}

fn check_port(index: usize, mapping: &cri::PortMapping) -> Result<(), SpecError> {
    let cri::PortMapping {
        protocol,
        container_port,
        host_port,
        host_ip,
    } = mapping;
    let field = |name: &str| format!("port_mappings[{index}].{name}");
    enumeration::<Protocol>(&field("protocol"), *protocol)?;
    for (name, port) in [("container_port", container_port), ("host_port", host_port)] {
        if u16::try_from(*port).is_err() {
            return Err(SpecError::invalid(
                field(name),
                format!("{port} is no port"),
            ));
        }
    }
    if *host_port != 0 && *container_port == 0 {
        return Err(SpecError::invalid(
            field("container_port"),
            "host_port is set and leads nowhere",
        ));
    }
    if !host_ip.is_empty() && host_ip.parse::<IpAddr>().is_err() {
        return Err(SpecError::invalid(
            field("host_ip"),
            format!("{host_ip:?} is no address"),
        ));
    }
    Ok(())
}

fn check_linux(linux: &cri::LinuxPodSandboxConfig, host: &HostFacts) -> Result<(), SpecError> {
    let cri::LinuxPodSandboxConfig {
        cgroup_parent,
        security_context,
        sysctls,
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
    check_context(context)?;
    let mode = context.namespace_options.as_ref();
    for (name, value) in sysctls {
        check_sysctl(name, value, mode)?;
    }
    Ok(())
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

/// Only what belongs to a namespace that the pod has of its own: everything else would be the machine's.
fn check_sysctl(
    name: &str,
    value: &str,
    modes: Option<&cri::NamespaceOption>,
) -> Result<(), SpecError> {
    let field = format!("linux.sysctls[{name:?}]");
    text(&field, value)?;
    let dotted = name.replace('/', ".");
    if dotted.split('.').any(str::is_empty) {
        return Err(SpecError::invalid(field, "no such parameter"));
    }
    let host = i32::from(NamespaceMode::Node);
    let (mode, namespace) = if dotted.starts_with("net.") {
        (modes.map(|modes| modes.network), "network")
    } else if dotted.starts_with("fs.mqueue.") || IPC_SYSCTLS.contains(&dotted.as_str()) {
        (modes.map(|modes| modes.ipc), "ipc")
    } else {
        return Err(SpecError::invalid(
            field,
            "it is the machine's and not a namespace's",
        ));
    };
    if mode == Some(host) {
        return Err(SpecError::invalid(
            field,
            format!("the pod is in the host's {namespace} namespace"),
        ));
    }
    Ok(())
}

fn check_namespaces(modes: &cri::NamespaceOption) -> Result<(), SpecError> {
    let cri::NamespaceOption {
        network,
        pid,
        ipc,
        target_id,
        userns_options,
    } = modes;
    let field = |name: &str| format!("{FIELD}.namespace_options.{name}");
    for (name, mode) in [("network", network), ("pid", pid), ("ipc", ipc)] {
        match (enumeration(&field(name), *mode)?, name) {
            (NamespaceMode::Pod | NamespaceMode::Node, _) | (NamespaceMode::Container, "pid") => {}
            (NamespaceMode::Container, _) => {
                return Err(SpecError::unsupported(
                    field(name),
                    "CONTAINER: a pod has one or is in the host's",
                ));
            }
            (NamespaceMode::Target, _) => {
                return Err(SpecError::invalid(
                    field(name),
                    "TARGET is for containers only",
                ));
            }
        }
    }
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
