//! Profiles with conditions: Docker's format, which is podman's and CRI-O's too, resolved to the OCI's.
//!
//! ```text
//! {"defaultAction": ..,  "archMap": [{"architecture": .., "subArchitectures": [..]}],
//!  "syscalls": [{"names": [..], "action": .., "includes": {"caps": [..], "arches": [..], "minKernel": "4.8"},
//!                                             "excludes": {..}}]}
//! ```
//!
//! The meaning is that of moby's `profiles/seccomp/seccomp_linux.go` (`setupSeccomp`) and of containers/common's
//! `pkg/seccomp`. A profile in the OCI's own format (runtime spec, `config-linux.md`, "Seccomp") has no conditions and
//! comes out as it went in. A key that neither format has is refused: the OCI runtime would pass over it, and the
//! profile would allow what it was to forbid. Pure.

use std::collections::HashSet;

use oci_spec::runtime::Capability;
use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// The keys of `LinuxSeccomp` that are taken as they are; `defaultErrnoRet` and `syscalls` follow from others as well.
const KEYS: [&str; 5] = [
    "defaultAction",
    "architectures",
    "flags",
    "listenerPath",
    "listenerMetadata",
];
/// The same of a member of `syscalls`.
const SYSCALL_KEYS: [&str; 2] = ["action", "args"];
/// Linux's numbers of the errors that profiles name: podman's has `"errno": "EPERM"`.
const ERRORS: [(&str, u32); 8] = [
    ("EPERM", 1),
    ("ENOENT", 2),
    ("EACCES", 13),
    ("EINVAL", 22),
    ("ENOSYS", 38),
    ("EPROTONOSUPPORT", 93),
    ("EOPNOTSUPP", 95),
    ("EAFNOSUPPORT", 97),
];

/// What conditions are about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// The container's bounding set.
    pub capabilities: &'a HashSet<Capability>,
    /// The kernel's version: 6 and 1 of `6.1.0-13-amd64`.
    pub kernel: (u32, u32),
}

/// This machine's processor, as conditions name it (Go's GOARCH), and as `archMap` does.
const PROCESSOR: (&str, &str) = if cfg!(target_arch = "x86_64") {
    ("amd64", "SCMP_ARCH_X86_64")
} else if cfg!(target_arch = "aarch64") {
    ("arm64", "SCMP_ARCH_AARCH64")
} else if cfg!(target_arch = "riscv64") {
    ("riscv64", "SCMP_ARCH_RISCV64")
} else if cfg!(target_arch = "s390x") {
    ("s390x", "SCMP_ARCH_S390X")
} else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
    ("ppc64le", "SCMP_ARCH_PPC64LE")
} else {
    ("", "")
};

/// The major and minor version at the start of a kernel's release: `6.1` of `6.1.0-13-amd64`.
pub(super) fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.trim().split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The profile in the OCI's format, with the members of `syscalls` whose conditions hold.
///
/// # Errors
/// What of it is of neither format, or contradicts itself.
pub(super) fn resolve(profile: Value, facts: Facts<'_>) -> Result<Value, String> {
    let mut profile = object("the profile", profile)?;
    let mut resolved = keep(&mut profile, &KEYS);
    let errno = errno(&mut profile, "defaultErrno", "defaultErrnoRet")?;
    resolved.extend(errno.map(|value| ("defaultErrnoRet".to_owned(), value)));
    if let Some(map) = list(&mut profile, "archMap")?
        && !map.is_empty()
    {
        if resolved.contains_key("architectures") {
            return Err("it has both \"architectures\" and \"archMap\"".to_owned());
        }
        let own = architectures(map)?;
        resolved.extend(own.map(|own| ("architectures".to_owned(), own)));
    }
    if let Some(calls) = list(&mut profile, "syscalls")? {
        let mut kept = Vec::with_capacity(calls.len());
        for call in calls {
            kept.extend(syscall(call, facts)?);
        }
        resolved.insert("syscalls".to_owned(), Value::Array(kept));
    }
    nothing_left(&profile)?;
    Ok(Value::Object(resolved))
}

/// The architectures that `archMap` has for this processor; `None` where it has none, which means the kernel's own.
fn architectures(map: Vec<Value>) -> Result<Option<Value>, String> {
    for entry in map {
        let mut entry = object("a member of archMap", entry)?;
        let main = entry.remove("architecture").unwrap_or_default();
        let further = list(&mut entry, "subArchitectures")?.unwrap_or_default();
        nothing_left(&entry)?;
        if main == PROCESSOR.1 {
            let all = std::iter::once(main).chain(further);
            return Ok(Some(Value::Array(all.collect())));
        }
    }
    Ok(None)
}

/// A member of `syscalls`; `None` where a condition does not hold.
fn syscall(call: Value, facts: Facts<'_>) -> Result<Option<Value>, String> {
    let mut call = object("a member of syscalls", call)?;
    let mut resolved = keep(&mut call, &SYSCALL_KEYS);
    let names = match (call.remove("name"), list(&mut call, "names")?) {
        (None | Some(Value::Null), names) => names.unwrap_or_default(),
        (Some(name), None) => vec![name],
        (Some(_), Some(_)) => return Err("it has both \"name\" and \"names\"".to_owned()),
    };
    let errno = errno(&mut call, "errno", "errnoRet")?;
    resolved.extend(errno.map(|value| ("errnoRet".to_owned(), value)));
    let includes = Condition::of(&mut call, "includes")?;
    let excludes = Condition::of(&mut call, "excludes")?;
    nothing_left(&call)?;
    let is_included = includes.is_none_or(|condition| condition.all(facts));
    let is_excluded = excludes.is_some_and(|condition| condition.any(facts));
    // podman's profile has members that name no call.
    if names.is_empty() || !is_included || is_excluded {
        return Ok(None);
    }
    resolved.insert("names".to_owned(), Value::Array(names));
    Ok(Some(Value::Object(resolved)))
}

/// `includes` or `excludes`. What is empty says nothing.
struct Condition {
    capabilities: Vec<String>,
    processors: Vec<String>,
    kernel: Option<(u32, u32)>,
}

impl Condition {
    fn of(call: &mut Object, key: &str) -> Result<Option<Self>, String> {
        let mut condition = match call.remove(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => object(key, value)?,
        };
        let mut words = |name: &str| -> Result<Vec<String>, String> {
            let words = list(&mut condition, name)?.unwrap_or_default();
            let word = |word: Value| match word {
                Value::String(word) => Ok(word),
                other => Err(format!("{key}.{name}: {other} is not a string")),
            };
            words.into_iter().map(word).collect()
        };
        let (capabilities, processors) = (words("caps")?, words("arches")?);
        let kernel = match condition.remove("minKernel") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.is_empty() => None,
            Some(value) => {
                let version = value.as_str().and_then(version);
                Some(version.ok_or_else(|| format!("{key}.minKernel: {value} is no version"))?)
            }
        };
        nothing_left(&condition)?;
        Ok(Some(Self {
            capabilities,
            processors,
            kernel,
        }))
    }

    /// Whether each part that says something holds, and each capability is there.
    fn all(&self, facts: Facts<'_>) -> bool {
        self.capabilities.iter().all(|name| has(facts, name))
            && (self.processors.is_empty() || self.is_processor())
            && self.kernel.is_none_or(|least| facts.kernel >= least)
    }

    /// Whether one part holds, or one capability is there.
    fn any(&self, facts: Facts<'_>) -> bool {
        self.capabilities.iter().any(|name| has(facts, name))
            || self.is_processor()
            || self.kernel.is_some_and(|least| facts.kernel >= least)
    }

    fn is_processor(&self) -> bool {
        self.processors.iter().any(|name| name == PROCESSOR.0)
    }
}

/// Whether the container has the capability `CAP_..`. It cannot have one that is not known here.
fn has(facts: Facts<'_>, name: &str) -> bool {
    let bare = name.strip_prefix("CAP_").unwrap_or(name);
    bare.parse()
        .is_ok_and(|capability| facts.capabilities.contains(&capability))
}

/// The error's number: the one that is named, or the one that is given (containers/common's order).
fn errno(of: &mut Object, name: &str, number: &str) -> Result<Option<Value>, String> {
    let given = of.remove(number).filter(|value| !value.is_null());
    match of.remove(name) {
        None | Some(Value::Null) => Ok(given),
        Some(Value::String(text)) if text.is_empty() => Ok(given),
        Some(named) => {
            let known = ERRORS.iter().find(|(known, _)| named == *known);
            let (_, number) = known.ok_or_else(|| format!("{name}: {named} is not known here"))?;
            Ok(Some(Value::from(*number)))
        }
    }
}

fn object(subject: &str, value: Value) -> Result<Object, String> {
    match value {
        Value::Object(object) => Ok(object),
        other => Err(format!("{subject} must be an object, not {other}")),
    }
}

/// Takes a list out; `None` where it is missing or null.
fn list(of: &mut Object, key: &str) -> Result<Option<Vec<Value>>, String> {
    match of.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(other) => Err(format!("{key:?} must be a list, not {other}")),
    }
}

/// Takes out the keys that stay as they are. A null says the same as a missing key.
fn keep(of: &mut Object, keys: &[&str]) -> Object {
    let taken = keys
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), of.remove(*key)?)));
    taken.filter(|(_, value)| !value.is_null()).collect()
}

/// Refuses what neither format has. Comments are let through.
fn nothing_left(of: &Object) -> Result<(), String> {
    match of.keys().find(|key| *key != "comment") {
        Some(key) => Err(format!(
            "{key:?} is neither in the OCI's format nor in Docker's"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resolved(profile: Value, capabilities: &[Capability]) -> Result<Value, String> {
        let facts = Facts {
            capabilities: &capabilities.iter().copied().collect(),
            kernel: (5, 10),
        };
        resolve(profile, facts)
    }

    /// Whether a call with these conditions is in the profile.
    fn is_in(conditions: Value, capabilities: &[Capability]) -> bool {
        let mut call = json!({"names": ["mount"], "action": "SCMP_ACT_ALLOW"});
        call.as_object_mut()
            .unwrap()
            .extend(conditions.as_object().unwrap().clone());
        let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [call]});
        let resolved = resolved(profile, capabilities).unwrap();
        let calls = resolved["syscalls"].as_array().unwrap();
        for call in calls {
            assert_eq!(
                *call,
                json!({"names": ["mount"], "action": "SCMP_ACT_ALLOW"})
            );
        }
        !calls.is_empty()
    }

    #[test]
    fn an_oci_profile_stays_as_it_is() {
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86_64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [{"names": ["a"], "action": "SCMP_ACT_ALLOW", "errnoRet": 5, "args": []}]
        });
        assert_eq!(resolved(profile.clone(), &[]), Ok(profile));
    }

    #[test]
    fn a_call_is_in_the_profile_where_its_conditions_hold() {
        use Capability::{SysAdmin, SysPtrace};
        let (own, other) = (PROCESSOR.0, "pdp11");
        for (conditions, capabilities, expected) in [
            (json!({}), &[][..], true),
            (json!({"includes": {}, "excludes": {}}), &[], true),
            (json!({"includes": null}), &[], true),
            (json!({"includes": {"caps": ["CAP_SYS_ADMIN"]}}), &[], false),
            (
                json!({"includes": {"caps": ["CAP_SYS_ADMIN"]}}),
                &[SysAdmin],
                true,
            ),
            (
                json!({"includes": {"caps": ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]}}),
                &[SysPtrace],
                false,
            ),
            (
                json!({"includes": {"caps": ["CAP_OF_THE_FUTURE"]}}),
                &[SysAdmin],
                false,
            ),
            (
                json!({"excludes": {"caps": ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]}}),
                &[SysPtrace],
                false,
            ),
            (json!({"excludes": {"caps": ["CAP_SYS_ADMIN"]}}), &[], true),
            (json!({"includes": {"arches": [other, own]}}), &[], true),
            (json!({"includes": {"arches": [other]}}), &[], false),
            (json!({"excludes": {"arches": [own]}}), &[], false),
            (json!({"excludes": {"arches": [other]}}), &[], true),
            (json!({"includes": {"minKernel": "4.8"}}), &[], true),
            (json!({"includes": {"minKernel": "5.10"}}), &[], true),
            (json!({"includes": {"minKernel": "5.11"}}), &[], false),
            (json!({"excludes": {"minKernel": "4.8"}}), &[], false),
            (
                json!({"includes": {"arches": [own]}, "excludes": {"caps": ["CAP_SYS_ADMIN"]}}),
                &[SysAdmin],
                false,
            ),
        ] {
            assert_eq!(
                is_in(conditions.clone(), capabilities),
                expected,
                "{conditions} with {capabilities:?}"
            );
        }
    }

    #[test]
    fn names_architectures_and_errors_have_more_than_one_form() {
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "ENOSYS", "defaultErrnoRet": 1,
            "archMap": [
                {"architecture": "SCMP_ARCH_PDP11", "subArchitectures": ["SCMP_ARCH_PDP8"]},
                {"architecture": PROCESSOR.1, "subArchitectures": ["SCMP_ARCH_X86"]}
            ],
            "syscalls": [
                {"name": "old", "action": "SCMP_ACT_ERRNO", "errno": "EPERM", "comment": "x"},
                {"names": [], "action": "SCMP_ACT_ALLOW", "args": null}
            ]
        });
        assert_eq!(
            resolved(profile, &[]),
            Ok(json!({
                "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
                "architectures": [PROCESSOR.1, "SCMP_ARCH_X86"],
                "syscalls": [{"names": ["old"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]
            }))
        );
    }

    #[test]
    fn what_neither_format_has_is_refused() {
        for profile in [
            json!([]),
            json!({"defaultActoin": "SCMP_ACT_ALLOW"}),
            json!({"syscalls": {}}),
            json!({"syscalls": [{"names": ["a"], "when": {}}]}),
            json!({"syscalls": [{"names": ["a"], "includes": {"users": ["root"]}}]}),
            json!({"syscalls": [{"names": ["a"], "includes": {"minKernel": "new"}}]}),
            json!({"syscalls": [{"names": ["a"], "name": "b"}]}),
            json!({"syscalls": [{"names": ["a"], "errno": "EWHATEVER"}]}),
            json!({"architectures": ["SCMP_ARCH_X86"], "archMap": [{"architecture": "SCMP_ARCH_X86"}]}),
        ] {
            assert!(resolved(profile.clone(), &[]).is_err(), "{profile}");
        }
    }

    #[test]
    fn a_release_begins_with_its_version() {
        assert_eq!(version("6.1.0-13-amd64\n"), Some((6, 1)));
        assert_eq!(version("4.8"), Some((4, 8)));
        assert_eq!(version("5.15-rc1"), Some((5, 15)));
        assert_eq!(version("x"), None);
        assert_eq!(version("5"), None);
    }
}
