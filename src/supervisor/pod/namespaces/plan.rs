//! Which namespaces a pod has, and what is set in them: read from its configuration, and refused where it would change
//! the host. Pure.

use std::path::{Path, PathBuf};

use crate::api::cri;
use crate::supervisor::error::Error;
use crate::sys::namespace::Kind;

/// Whose a namespace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The pod's own.
    Pod,
    /// The host's.
    Node,
}

/// Whose the containers' pid namespaces are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PidScope {
    /// One for all containers of the pod.
    Pod,
    /// Each container's own.
    Container,
    /// The host's.
    Node,
}

/// One sysctl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sysctl {
    /// As asked for.
    pub name: String,
    pub path: PathBuf,
    pub value: String,
}

/// Which namespaces a pod has, and what is set in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The network namespace, and with it the host name's.
    pub network: Scope,
    /// The IPC namespace.
    pub ipc: Scope,
    /// The pid namespace.
    pub pid: PidScope,
    pub(super) hostname: Option<String>,
    pub(super) sysctls: Vec<Sysctl>,
}

impl Plan {
    /// What `config` asks for. What it leaves out is the protocol's zero: everything the pod's, the pid namespace too.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the field; [`crate::supervisor::spec::check_sandbox`] says more.
    pub fn of(config: &cri::PodSandboxConfig) -> Result<Self, Error> {
        let linux = config.linux.clone().unwrap_or_default();
        let security = linux.security_context.unwrap_or_default();
        let options = security.namespace_options.unwrap_or_default();
        let field = |name: &str| format!("linux.security_context.namespace_options.{name}");
        let scope = |name, value| match cri::NamespaceMode::try_from(value) {
            Ok(cri::NamespaceMode::Pod) => Ok(Scope::Pod),
            Ok(cri::NamespaceMode::Node) => Ok(Scope::Node),
            Ok(cri::NamespaceMode::Container | cri::NamespaceMode::Target) | Err(_) => {
                Err(Error::invalid(field(name), "must be POD or NODE"))
            }
        };
        let pid = match cri::NamespaceMode::try_from(options.pid) {
            Ok(cri::NamespaceMode::Pod) => PidScope::Pod,
            Ok(cri::NamespaceMode::Container) => PidScope::Container,
            Ok(cri::NamespaceMode::Node) => PidScope::Node,
            Ok(cri::NamespaceMode::Target) | Err(_) => {
                let reason = "must be POD, CONTAINER or NODE";
                return Err(Error::invalid(field("pid"), reason));
            }
        };
        let (network, ipc) = (
            scope("network", options.network)?,
            scope("ipc", options.ipc)?,
        );
        let sysctls = linux.sysctls.into_iter();
        let mut sysctls = sysctls
            .map(|(name, value)| sysctl(name, value, network, ipc))
            .collect::<Result<Vec<_>, _>>()?;
        // The same order each time: the protocol's map has none.
        sysctls.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            network,
            ipc,
            pid,
            hostname: hostname(&config.hostname, network),
            sysctls,
        })
    }

    /// The namespaces that need no process.
    #[must_use]
    pub fn pinned(&self) -> Vec<Kind> {
        let mut kinds = Vec::new();
        if self.network == Scope::Pod {
            kinds.extend([Kind::Net, Kind::Uts]);
        }
        if self.ipc == Scope::Pod {
            kinds.push(Kind::Ipc);
        }
        kinds
    }
}

/// The name to set; `None` leaves the host's, which a new namespace begins with.
fn hostname(name: &str, network: Scope) -> Option<String> {
    // The host is not renamed: containerd ignores the name there too, and kubelet sends the host's own.
    (network == Scope::Pod && !name.is_empty()).then(|| name.to_owned())
}

/// The sysctls of the IPC namespace (ipc_namespaces(7)); and all below fs.mqueue.
const IPC_SYSCTLS: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// `a.b/c` is the file `a/b.c`, and `a/b.c` is the file `a/b.c` (sysctl.d(5)): the first separator says which.
fn sysctl(name: String, value: String, network: Scope, ipc: Scope) -> Result<Sysctl, Error> {
    let invalid = |reason: &str| Err(Error::invalid(format!("linux.sysctls[{name:?}]"), reason));
    let dotted = name
        .find(['.', '/'])
        .is_some_and(|at| name[at..].starts_with('.'));
    let relative: String = name
        .chars()
        .map(|character| match character {
            '.' if dotted => '/',
            '/' if dotted => '.',
            other => other,
        })
        .collect();
    if relative
        .split('/')
        .any(|part| matches!(part, "" | "." | ".."))
        || relative.contains('\0')
    {
        return invalid("is no sysctl's name");
    }
    if relative.starts_with("net/") {
        if network == Scope::Node {
            return invalid("would change the host's network");
        }
    } else if IPC_SYSCTLS.contains(&relative.as_str()) || relative.starts_with("fs/mqueue/") {
        if ipc == Scope::Node {
            return invalid("would change the host's IPC");
        }
    } else {
        return invalid(
            "is not a pod's own: only net.*, fs.mqueue.* and the kernel.* of System V IPC are",
        );
    }
    let path = Path::new("/proc/sys").join(relative);
    Ok(Sysctl { name, path, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(
        change: impl FnOnce(&mut cri::PodSandboxConfig, &mut cri::NamespaceOption),
    ) -> cri::PodSandboxConfig {
        let mut config = cri::PodSandboxConfig::default();
        let mut options = cri::NamespaceOption::default();
        change(&mut config, &mut options);
        config.linux.get_or_insert_default().security_context =
            Some(cri::LinuxSandboxSecurityContext {
                namespace_options: Some(options),
                ..Default::default()
            });
        config
    }

    fn with_sysctl(name: &str, network: cri::NamespaceMode) -> Result<Plan, Error> {
        Plan::of(&config(|config, options| {
            options.network = network.into();
            options.ipc = network.into();
            let sysctls = &mut config.linux.get_or_insert_default().sysctls;
            sysctls.insert(name.into(), "1".into());
        }))
    }

    #[test]
    fn what_is_left_out_is_the_pods_own() {
        let plan = Plan::of(&cri::PodSandboxConfig::default()).unwrap();
        assert_eq!(plan.pinned(), [Kind::Net, Kind::Uts, Kind::Ipc]);
        assert_eq!(plan.pid, PidScope::Pod);
    }

    #[test]
    fn the_hosts_network_is_the_hosts_name_too() {
        let plan = Plan::of(&config(|config, options| {
            config.hostname = "web".into();
            options.network = cri::NamespaceMode::Node.into();
            options.pid = cri::NamespaceMode::Container.into();
        }));
        let plan = plan.unwrap();
        assert_eq!(plan.pinned(), [Kind::Ipc]);
        assert_eq!((plan.hostname, plan.pid), (None, PidScope::Container));
    }

    #[test]
    fn modes_that_a_pod_cannot_have_are_named() {
        let field = |change: fn(&mut cri::NamespaceOption)| match Plan::of(&config(|_, options| {
            change(options)
        })) {
            Err(Error::Invalid { field, .. }) => {
                field.rsplit_once("options.").unwrap().1.to_owned()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(field(|options| options.network = 1), "network");
        assert_eq!(field(|options| options.ipc = 3), "ipc");
        assert_eq!(field(|options| options.pid = 3), "pid");
        assert_eq!(field(|options| options.pid = 9), "pid");
    }

    #[test]
    fn only_sysctls_of_the_pods_namespaces_are_taken() {
        use cri::NamespaceMode::{Node, Pod};
        for name in [
            "net.ipv4.ip_unprivileged_port_start",
            "net/ipv4/conf/eth0.1/forwarding",
            "net.ipv4.conf.eth0/1.forwarding",
            "kernel.shmmax",
            "kernel.sem",
            "fs.mqueue.msg_max",
        ] {
            with_sysctl(name, Pod).unwrap();
            assert!(with_sysctl(name, Node).is_err(), "{name}");
        }
        for name in [
            "kernel.core_pattern",
            "kernel.hostname",
            "vm.swappiness",
            "net.../../kernel.core_pattern",
            "net/../kernel/core_pattern",
            "net",
            "",
            "kernel.shmmax.x",
        ] {
            let Err(Error::Invalid { field, .. }) = with_sysctl(name, Pod) else {
                panic!("{name} was taken");
            };
            assert!(field.contains(&format!("{name:?}")), "{field}");
        }
        let dotted = with_sysctl("net.ipv4.conf.eth0/1.forwarding", Pod).unwrap();
        let slashed = with_sysctl("net/ipv4/conf/eth0.1/forwarding", Pod).unwrap();
        assert_eq!(dotted.sysctls[0].path, slashed.sysctls[0].path);
        assert_eq!(
            slashed.sysctls[0].path,
            Path::new("/proc/sys/net/ipv4/conf/eth0.1/forwarding")
        );
    }
}
