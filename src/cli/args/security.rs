//! `--security-opt`, as docker-run(1) and podman-run(1) have it.

use std::path::PathBuf;

/// One `--security-opt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecurityOpt {
    /// Which system calls the container may make.
    Seccomp(Profile<PathBuf>),
    /// What AppArmor lets it do.
    AppArmor(Profile<String>),
    /// Whether it may gain privileges by executing a file: prctl(2), PR_SET_NO_NEW_PRIVS.
    NoNewPrivileges(bool),
    /// No SELinux label, which no container has here.
    LabelDisable,
}

/// A profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Profile<T> {
    /// None.
    Unconfined,
    /// The supervisor's own.
    Default,
    /// One of the machine's: a file, absolute, or a name.
    Local(T),
}

impl SecurityOpt {
    /// `seccomp=unconfined|default|FILE`, `apparmor=unconfined|NAME`, `no-new-privileges[=true|false]`,
    /// `label=disable`; a colon may stand for the equals sign, as with docker.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (key, value) = match text.split_once(['=', ':']) {
            Some((key, value)) => (key, value),
            None => (text, ""),
        };
        match (key, value) {
            ("seccomp", "unconfined") => Ok(Self::Seccomp(Profile::Unconfined)),
            // The second is docker's.
            ("seccomp", "default" | "builtin") => Ok(Self::Seccomp(Profile::Default)),
            ("seccomp", file) if !file.is_empty() => {
                // The supervisor has a working directory of its own.
                let path = std::path::absolute(file).map_err(|error| error.to_string())?;
                Ok(Self::Seccomp(Profile::Local(path)))
            }
            ("apparmor", "unconfined") => Ok(Self::AppArmor(Profile::Unconfined)),
            ("apparmor", name) if !name.is_empty() => {
                Ok(Self::AppArmor(Profile::Local(name.to_owned())))
            }
            ("no-new-privileges", "" | "true") => Ok(Self::NoNewPrivileges(true)),
            ("no-new-privileges", "false") => Ok(Self::NoNewPrivileges(false)),
            ("label", "disable") => Ok(Self::LabelDisable),
            _ => Err(format!(
                "{text:?} is not supported; there are seccomp=unconfined, seccomp=FILE, apparmor=unconfined, \
                 apparmor=NAME, no-new-privileges, label=disable"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_none_the_default_one_or_a_file() {
        use SecurityOpt::{AppArmor, LabelDisable, NoNewPrivileges, Seccomp};
        let here = std::env::current_dir().unwrap();
        for (text, expected) in [
            ("seccomp=unconfined", Seccomp(Profile::Unconfined)),
            ("seccomp:unconfined", Seccomp(Profile::Unconfined)),
            ("seccomp=default", Seccomp(Profile::Default)),
            ("seccomp=/a=b", Seccomp(Profile::Local("/a=b".into()))),
            (
                "seccomp=p.json",
                Seccomp(Profile::Local(here.join("p.json"))),
            ),
            ("apparmor=unconfined", AppArmor(Profile::Unconfined)),
            ("apparmor=mine", AppArmor(Profile::Local("mine".into()))),
            ("no-new-privileges", NoNewPrivileges(true)),
            ("no-new-privileges:true", NoNewPrivileges(true)),
            ("no-new-privileges=false", NoNewPrivileges(false)),
            ("label=disable", LabelDisable),
        ] {
            assert_eq!(SecurityOpt::parse(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "seccomp",
            "seccomp=",
            "label=type:x",
            "no-new-privileges=2",
        ] {
            assert!(SecurityOpt::parse(text).is_err(), "{text}");
        }
    }
}
