//! Which system calls a container may make: none filtered, the built-in profile, or a file's.

mod builtin;
mod conditional;

use std::collections::HashSet;
use std::path::Path;

use oci_spec::runtime::{Capability, LinuxSeccomp};

use super::checks::{absolute, enumeration};
use super::{Privilege, SpecError};
use crate::api::cri::{self, security_profile::ProfileType};
use crate::sys::file::read_at_once;

/// The kernel takes filters of 4096 instructions; the text of the greatest is far below this.
const MAX_LEN: u64 = 4 << 20;
/// Where the kernel says which version it is.
const RELEASE: &str = "/proc/sys/kernel/osrelease";

/// A profile that a request names, for seccomp or AppArmor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Profile {
    /// None.
    Unconfined,
    /// The runtime's own.
    RuntimeDefault,
    /// One of the machine's: seccomp's file, AppArmor's name.
    Localhost(String),
}

/// The profile that a `SecurityProfile` and its deprecated text form name; `None` where neither does.
pub(super) fn profile(
    field: &str,
    asked: Option<&cri::SecurityProfile>,
    old_field: &str,
    old: &str,
) -> Result<Option<Profile>, SpecError> {
    let new = match asked {
        Some(cri::SecurityProfile {
            profile_type,
            localhost_ref,
        }) => {
            let local = format!("{field}.localhost_ref");
            let kind = enumeration(&format!("{field}.profile_type"), *profile_type)?;
            Some(match (kind, localhost_ref.is_empty()) {
                (ProfileType::RuntimeDefault, true) => Profile::RuntimeDefault,
                (ProfileType::Unconfined, true) => Profile::Unconfined,
                (ProfileType::Localhost, false) => Profile::Localhost(localhost_ref.clone()),
                (ProfileType::Localhost, true) => {
                    return Err(SpecError::invalid(local, "Localhost needs one"));
                }
                (ProfileType::RuntimeDefault | ProfileType::Unconfined, false) => {
                    return Err(SpecError::invalid(local, "only Localhost has one"));
                }
            })
        }
        None => None,
    };
    let old = match old {
        "" => None,
        "unconfined" => Some(Profile::Unconfined),
        // The second is Docker's, which Kubernetes took until 1.19.
        "runtime/default" | "docker/default" => Some(Profile::RuntimeDefault),
        text => match text.strip_prefix("localhost/") {
            Some(name) if !name.is_empty() => Some(Profile::Localhost(name.to_owned())),
            _ => {
                return Err(SpecError::invalid(
                    old_field,
                    format!("{text:?} is none of runtime/default, unconfined, localhost/.."),
                ));
            }
        },
    };
    match (new, old) {
        (Some(new), Some(old)) if new != old => Err(SpecError::invalid(
            old_field,
            format!("it contradicts {field}"),
        )),
        (Some(profile), _) | (None, Some(profile)) => Ok(Some(profile)),
        (None, None) => Ok(None),
    }
}

/// The filter of a container whose bounding set is `capabilities`. Nothing asked for means none, as CRI has it; a
/// privileged container has none whatever is asked for, as CRI has it too.
#[expect(deprecated, reason = "older clients send the text form")]
pub(super) fn seccomp(
    context: &cri::LinuxContainerSecurityContext,
    privilege: Privilege,
    capabilities: &HashSet<Capability>,
    root: &Path,
) -> Result<Option<LinuxSeccomp>, SpecError> {
    let field = "linux.security_context.seccomp";
    let old_field = "linux.security_context.seccomp_profile_path";
    let profile = profile(
        field,
        context.seccomp.as_ref(),
        old_field,
        &context.seccomp_profile_path,
    )?;
    if privilege == Privilege::Privileged {
        return Ok(None);
    }
    match profile {
        None | Some(Profile::Unconfined) => Ok(None),
        Some(Profile::RuntimeDefault) => Ok(Some(builtin::profile(capabilities))),
        Some(Profile::Localhost(path)) => {
            let field = match context.seccomp {
                Some(_) => format!("{field}.localhost_ref"),
                None => old_field.to_owned(),
            };
            // CRI wants an absolute path; a relative one is of `root`, and stays below it.
            let path = if path.starts_with('/') {
                absolute(&field, &path)?
            } else {
                let below = absolute(&field, &format!("/{path}"))?;
                root.join(below.strip_prefix("/").unwrap_or(&below))
            };
            read(&field, &path, capabilities).map(Some)
        }
    }
}

/// A profile in a file: in the OCI's format, or in Docker's for a container with these capabilities.
fn read(
    field: &str,
    path: &Path,
    capabilities: &HashSet<Capability>,
) -> Result<LinuxSeccomp, SpecError> {
    let wrong = |reason: String| SpecError::invalid(field, format!("{}: {reason}", path.display()));
    let text = read_at_once(path, MAX_LEN).map_err(|error| wrong(error.to_string()))?;
    let profile = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    let release = Path::new(RELEASE);
    let kernel = read_at_once(release, MAX_LEN).map_err(SpecError::io("read", release))?;
    let facts = conditional::Facts {
        capabilities,
        // The zero of a release without a version is below every least version: what takes a newer kernel is left out.
        kernel: conditional::version(&String::from_utf8_lossy(&kernel)).unwrap_or_default(),
    };
    let profile = conditional::resolve(profile, facts).map_err(wrong)?;
    serde_json::from_value(profile).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
#[expect(deprecated, reason = "older clients send the text form")]
mod tests {
    use super::*;
    use crate::sys::file::scratch::Scratch;
    use oci_spec::runtime::LinuxSeccompAction;

    type Context = cri::LinuxContainerSecurityContext;

    fn new(kind: ProfileType, name: &str) -> Option<cri::SecurityProfile> {
        Some(cri::SecurityProfile {
            profile_type: kind.into(),
            localhost_ref: name.into(),
        })
    }

    fn filter(context: &Context) -> Result<Option<LinuxSeccomp>, SpecError> {
        seccomp(
            context,
            Privilege::Confined,
            &HashSet::new(),
            Path::new("/no/such/root"),
        )
    }

    fn field(context: &Context) -> String {
        filter(context).unwrap_err().field().unwrap().to_owned()
    }

    #[test]
    fn both_forms_name_the_same_profiles() {
        let with = |seccomp, path: &str| {
            filter(&Context {
                seccomp,
                seccomp_profile_path: path.into(),
                ..Context::default()
            })
            .unwrap()
            .is_some()
        };
        assert!(!with(None, ""));
        assert!(!with(None, "unconfined"));
        assert!(with(None, "runtime/default"));
        assert!(with(new(ProfileType::RuntimeDefault, ""), ""));
        assert!(with(
            new(ProfileType::RuntimeDefault, ""),
            "runtime/default"
        ));
        assert!(!with(new(ProfileType::Unconfined, ""), "unconfined"));
        let context = Context {
            seccomp: new(ProfileType::RuntimeDefault, ""),
            ..Context::default()
        };
        let privileged = seccomp(
            &context,
            Privilege::Privileged,
            &HashSet::new(),
            Path::new("/"),
        );
        assert_eq!(privileged.unwrap(), None);
    }

    #[test]
    fn a_file_is_taken_as_it_is_or_not_at_all() {
        let scratch = Scratch::new();
        scratch.write(
            "good.json",
            r#"{"comment":"x","defaultAction":"SCMP_ACT_LOG","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO","errnoRet":5}]}"#,
        );
        scratch.write(
            "docker.json",
            r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}}]}"#,
        );
        scratch.write(
            "foreign.json",
            r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["mount"],"action":"SCMP_ACT_ALLOW","unless":{}}]}"#,
        );
        scratch.write("wrong.json", r#"{"defaultAction":"SCMP_ACT_MAYBE"}"#);
        let local = |name: &str| {
            let path = scratch.path().join(name);
            Context {
                seccomp: new(ProfileType::Localhost, path.to_str().unwrap()),
                ..Context::default()
            }
        };
        let good = filter(&local("good.json")).unwrap().unwrap();
        assert_eq!(good.default_action(), LinuxSeccompAction::ScmpActLog);
        assert_eq!(good.syscalls().as_ref().unwrap()[0].errno_ret(), Some(5));
        let docker = filter(&local("docker.json")).unwrap().unwrap();
        assert_eq!(docker.syscalls().as_deref(), Some(&[][..]));
        let administrator = seccomp(
            &local("docker.json"),
            Privilege::Confined,
            &HashSet::from([Capability::SysAdmin]),
            Path::new("/no/such/root"),
        );
        let allowed = administrator.unwrap().unwrap().syscalls().clone().unwrap();
        assert_eq!(allowed[0].names(), &["mount"]);
        for name in ["foreign.json", "wrong.json", "none.json"] {
            let field = field(&local(name));
            assert_eq!(field, "linux.security_context.seccomp.localhost_ref");
        }
        let old = Context {
            seccomp_profile_path: format!("localhost/{}/good.json", scratch.path().display()),
            ..Context::default()
        };
        assert_eq!(filter(&old).unwrap(), Some(good.clone()));
        let relative = Context {
            seccomp: new(ProfileType::Localhost, "../good.json"),
            ..Context::default()
        };
        let found = seccomp(
            &relative,
            Privilege::Confined,
            &HashSet::new(),
            scratch.path(),
        );
        assert_eq!(found.unwrap(), Some(good));
    }

    #[test]
    fn what_makes_no_sense_names_its_field() {
        let old = |path: &str, seccomp| Context {
            seccomp_profile_path: path.into(),
            seccomp,
            ..Context::default()
        };
        for (context, expected) in [
            (old("sometimes", None), "seccomp_profile_path"),
            (old("localhost/", None), "seccomp_profile_path"),
            (old("localhost/relative", None), "seccomp_profile_path"),
            (
                old("unconfined", new(ProfileType::RuntimeDefault, "")),
                "seccomp_profile_path",
            ),
            (
                old("", new(ProfileType::Localhost, "")),
                "seccomp.localhost_ref",
            ),
            (
                old("", new(ProfileType::Unconfined, "/x")),
                "seccomp.localhost_ref",
            ),
            (
                old(
                    "",
                    Some(cri::SecurityProfile {
                        profile_type: 9,
                        localhost_ref: String::new(),
                    }),
                ),
                "seccomp.profile_type",
            ),
        ] {
            assert_eq!(
                field(&context),
                format!("linux.security_context.{expected}")
            );
        }
    }
}
