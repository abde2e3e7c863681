//! What the container's processes may do: user, capabilities, filters. Pure.

use super::config::namespaces;
use crate::api::cri::{self, security_profile::ProfileType};
use crate::cli::args::{Profile, RunArgs, SecurityOpt};
use crate::cli::error::Error;
use crate::cli::quantity::User;

/// CRI's security context.
///
/// # Errors
/// [`Error::Usage`] for a profile's path that is not UTF-8.
pub fn security_context(args: &RunArgs) -> Result<cri::LinuxContainerSecurityContext, Error> {
    let id = |id: u32| Some(cri::Int64Value { value: id.into() });
    let (user, username, group) = match &args.user {
        None => (None, String::new(), None),
        Some(User::Id { user, group }) => (id(*user), String::new(), *group),
        Some(User::Name(name)) => (None, name.clone(), None),
    };
    let capabilities = cri::Capability {
        add_capabilities: args.cap_add.iter().map(|name| capability(name)).collect(),
        drop_capabilities: args.cap_drop.iter().map(|name| capability(name)).collect(),
        ..Default::default()
    };
    let mut context = cri::LinuxContainerSecurityContext {
        capabilities: Some(capabilities),
        privileged: args.privileged,
        namespace_options: Some(namespaces(args)),
        run_as_user: user,
        run_as_group: group.and_then(id),
        run_as_username: username,
        supplemental_groups: args.group_add.iter().copied().map(Into::into).collect(),
        readonly_rootfs: args.read_only,
        // In CRI no profile means no filter. docker-run(1) and podman-run(1) filter unless told otherwise, and so does
        // this.
        seccomp: Some(profile(ProfileType::RuntimeDefault)),
        ..Default::default()
    };
    for option in &args.security_opt {
        apply(option, &mut context)?;
    }
    Ok(context)
}

/// The last of several options of one kind wins.
fn apply(
    option: &SecurityOpt,
    context: &mut cri::LinuxContainerSecurityContext,
) -> Result<(), Error> {
    match option {
        SecurityOpt::Seccomp(Profile::Unconfined) => {
            context.seccomp = Some(profile(ProfileType::Unconfined));
        }
        SecurityOpt::Seccomp(Profile::Default) => {
            context.seccomp = Some(profile(ProfileType::RuntimeDefault));
        }
        SecurityOpt::Seccomp(Profile::Local(file)) => {
            let file = file.to_str().ok_or_else(|| {
                Error::Usage(format!(
                    "--security-opt seccomp={file:?}: the path is not UTF-8"
                ))
            })?;
            context.seccomp = Some(local(file));
        }
        SecurityOpt::AppArmor(Profile::Unconfined) => {
            context.apparmor = Some(profile(ProfileType::Unconfined));
        }
        SecurityOpt::AppArmor(Profile::Default) => {
            context.apparmor = Some(profile(ProfileType::RuntimeDefault));
        }
        SecurityOpt::AppArmor(Profile::Local(name)) => context.apparmor = Some(local(name)),
        SecurityOpt::NoNewPrivileges(wanted) => context.no_new_privs = *wanted,
        SecurityOpt::LabelDisable => {}
    }
    Ok(())
}

fn profile(kind: ProfileType) -> cri::SecurityProfile {
    cri::SecurityProfile {
        profile_type: kind.into(),
        localhost_ref: String::new(),
    }
}

fn local(name: &str) -> cri::SecurityProfile {
    cri::SecurityProfile {
        profile_type: ProfileType::Localhost.into(),
        localhost_ref: name.to_owned(),
    }
}

/// CRI names capabilities without `CAP_`, in capitals.
fn capability(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    name.strip_prefix("CAP_").unwrap_or(&name).to_owned()
}
