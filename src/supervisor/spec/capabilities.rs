//! The capabilities of a container: a default set, what the request adds and drops.

use std::collections::HashSet;

use oci_spec::runtime::{Capability, LinuxCapabilities};

use super::{HostFacts, Privilege, SpecError};
use crate::api::cri;

const FIELD: &str = "linux.security_context.capabilities";

/// All of them in the order of their numbers (`linux/capability.h`).
const BY_NUMBER: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// What a container has when nothing is asked for: the fourteen of containerd (`oci.defaultUnixCaps`) and Docker.
const DEFAULT: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// The capabilities whose bits are set.
pub(super) fn of_bits(bits: u64) -> HashSet<Capability> {
    let numbered = BY_NUMBER.iter().enumerate();
    numbered
        .filter(|(number, _)| bits & (1 << number) != 0)
        .map(|(_, capability)| *capability)
        .collect()
}

/// One entry of a list.
enum Entry {
    All,
    One(Capability),
}

/// `SYS_ADMIN` as Kubernetes writes it, `CAP_SYS_ADMIN` as everybody else does, or `ALL`.
fn entry(list: &str, index: usize, name: &str) -> Result<Entry, SpecError> {
    let upper = name.to_ascii_uppercase();
    if upper == "ALL" {
        return Ok(Entry::All);
    }
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    bare.parse().map(Entry::One).map_err(|_| {
        SpecError::invalid(
            format!("{FIELD}.{list}[{index}]"),
            format!("{name:?} is no capability"),
        )
    })
}

/// A list's capabilities, `ALL` standing for `all`.
fn list(
    name: &str,
    names: &[String],
    all: &HashSet<Capability>,
) -> Result<HashSet<Capability>, SpecError> {
    let mut found = HashSet::new();
    for (index, text) in names.iter().enumerate() {
        match entry(name, index, text)? {
            Entry::All => found.extend(all),
            Entry::One(capability) => {
                found.insert(capability);
            }
        }
    }
    Ok(found)
}

/// What is asked for and cannot be given; runc's capset(2) would fail with a bare EPERM.
fn within(name: &str, wanted: &HashSet<Capability>, host: &HostFacts) -> Result<(), SpecError> {
    match wanted.difference(&host.capabilities).next() {
        Some(lacking) => Err(SpecError::invalid(
            format!("{FIELD}.{name}"),
            format!("the supervisor itself lacks {lacking}"),
        )),
        None => Ok(()),
    }
}

/// The capabilities of the container's first process.
///
/// Added to the default set first, dropped then, so that a drop always wins but for one case: `ALL` dropped empties
/// the default set and leaves what is added by name (containerd's `WithCapabilities`). Privileged means all that the
/// supervisor has, and the lists have no effect then, as CRI allows. Inheritable ones are none but the ambient ones,
/// which must be in that set (capabilities(7), CVE-2022-24769).
pub(super) fn capabilities(
    asked: Option<&cri::Capability>,
    privilege: Privilege,
    host: &HostFacts,
) -> Result<LinuxCapabilities, SpecError> {
    let none = cri::Capability::default();
    let cri::Capability {
        add_capabilities,
        drop_capabilities,
        add_ambient_capabilities,
    } = asked.unwrap_or(&none);
    let mut added = list("add_capabilities", add_capabilities, &host.capabilities)?;
    let mut ambient = list(
        "add_ambient_capabilities",
        add_ambient_capabilities,
        &host.capabilities,
    )?;
    // ALL is told apart below, so it stands for none here.
    let dropped = list("drop_capabilities", drop_capabilities, &HashSet::new())?;
    if privilege == Privilege::Privileged {
        return Ok(sets(host.capabilities.clone(), HashSet::new()));
    }
    within("add_capabilities", &added, host)?;
    within("add_ambient_capabilities", &ambient, host)?;
    let mut set = HashSet::new();
    if says_all(drop_capabilities) {
        if says_all(add_capabilities) {
            added.clear();
        }
        if says_all(add_ambient_capabilities) {
            ambient.clear();
        }
    } else {
        // The supervisor may itself run with less than the default.
        set.extend(DEFAULT.iter().filter(|one| host.capabilities.contains(one)));
    }
    set.extend(added);
    set.extend(&ambient);
    set.retain(|capability| !dropped.contains(capability));
    ambient.retain(|capability| set.contains(capability));
    Ok(sets(set, ambient))
}

fn says_all(names: &[String]) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case("all"))
}

fn sets(set: HashSet<Capability>, ambient: HashSet<Capability>) -> LinuxCapabilities {
    let mut capabilities = LinuxCapabilities::default();
    capabilities
        .set_bounding(Some(set.clone()))
        .set_effective(Some(set.clone()))
        .set_permitted(Some(set))
        .set_inheritable(Some(ambient.clone()))
        .set_ambient(Some(ambient));
    capabilities
}

#[cfg(test)]
mod tests {
    use super::*;
    use Capability::{Chown, NetAdmin, NetRaw, SysResource, SysTime};

    fn asked(add: &[&str], drop: &[&str], ambient: &[&str]) -> cri::Capability {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        cri::Capability {
            add_capabilities: owned(add),
            drop_capabilities: owned(drop),
            add_ambient_capabilities: owned(ambient),
        }
    }

    fn given(add: &[&str], drop: &[&str]) -> HashSet<Capability> {
        let asked = asked(add, drop, &[]);
        let host = HostFacts::example();
        let sets = capabilities(Some(&asked), Privilege::Confined, &host).unwrap();
        assert_eq!(sets.effective(), sets.permitted());
        assert_eq!(sets.effective(), sets.bounding());
        assert_eq!(sets.ambient().as_ref().unwrap().len(), 0);
        assert_eq!(sets.inheritable().as_ref().unwrap().len(), 0);
        sets.effective().clone().unwrap()
    }

    #[test]
    fn names_come_with_and_without_prefix_in_any_case() {
        for name in ["NET_ADMIN", "CAP_NET_ADMIN", "net_admin", "cap_Net_Admin"] {
            assert!(given(&[name], &[]).contains(&NetAdmin), "{name}");
        }
        let asked = asked(&["CHOWN", "FLY"], &[], &[]);
        let error = capabilities(Some(&asked), Privilege::Confined, &HostFacts::example());
        assert_eq!(
            error.unwrap_err().field(),
            Some("linux.security_context.capabilities.add_capabilities[1]")
        );
    }

    #[test]
    fn all_means_all_added_or_none_left() {
        let default: HashSet<_> = DEFAULT.into_iter().collect();
        assert_eq!(given(&[], &[]), default);
        assert_eq!(given(&["ALL"], &[]).len(), 41);
        assert_eq!(given(&["ALL"], &["SYS_TIME"]).len(), 40);
        assert_eq!(given(&[], &["ALL"]).len(), 0);
        assert_eq!(given(&["CHOWN"], &["ALL"]), HashSet::from([Chown]));
        assert_eq!(given(&["ALL"], &["ALL"]).len(), 0);
        assert_eq!(given(&["CHOWN"], &["ALL", "CHOWN"]).len(), 0);
        assert!(!given(&["NET_RAW"], &["NET_RAW"]).contains(&NetRaw));
    }

    #[test]
    fn ambient_ones_are_in_every_set() {
        let asked = asked(&[], &["ALL"], &["SYS_TIME"]);
        let sets = capabilities(Some(&asked), Privilege::Confined, &HostFacts::example()).unwrap();
        let time = Some(HashSet::from([SysTime]));
        for set in [
            sets.ambient(),
            sets.inheritable(),
            sets.permitted(),
            sets.bounding(),
        ] {
            assert_eq!(set, &time);
        }
    }

    #[test]
    fn nothing_is_given_that_the_supervisor_lacks() {
        let mut host = HostFacts::example();
        host.capabilities.remove(&SysResource);
        host.capabilities.remove(&NetRaw);
        let privileged = capabilities(None, Privilege::Privileged, &host).unwrap();
        assert_eq!(privileged.bounding().as_ref(), Some(&host.capabilities));
        let default = capabilities(None, Privilege::Confined, &host).unwrap();
        assert_eq!(default.bounding().as_ref().unwrap().len(), 13);
        let all = asked(&["ALL"], &[], &[]);
        let all = capabilities(Some(&all), Privilege::Confined, &host).unwrap();
        assert_eq!(all.bounding().as_ref(), Some(&host.capabilities));
        let named = asked(&["SYS_RESOURCE"], &[], &[]);
        let error = capabilities(Some(&named), Privilege::Confined, &host).unwrap_err();
        assert!(error.to_string().contains("SYS_RESOURCE"), "{error}");
    }
}
