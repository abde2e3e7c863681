//! What of the host is mounted in a container: `-v` and `--mount` as docker-run(1) and podman-run(1) have them.

/// What of the host's is mounted where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeArg {
    /// The host's path, absolute.
    pub host: String,
    /// The container's path, absolute.
    pub container: String,
    /// Whether it can be written.
    pub access: Access,
    /// Which mounts go from one to the other later.
    pub propagation: Propagation,
    /// Whether it is the container's by SELinux, too.
    pub label: Label,
}

/// Whether a volume can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It can.
    ReadWrite,
    /// It cannot.
    ReadOnly,
}

/// Which mounts go from the host to a volume and back: mount_namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// None.
    Private,
    /// The host's go into the container.
    Slave,
    /// Both ways.
    Shared,
}

/// What becomes of a volume's SELinux label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// It stays.
    Keep,
    /// It becomes one that the container may use; without SELinux there is none.
    Change,
}

impl VolumeArg {
    /// `HOST:CONTAINER[:OPTION[,OPTION]..]`. A host's path that begins with `./` or `../` is below the working directory.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let (Some(host), Some(container)) = (parts.next(), parts.next()) else {
            return Err("must be HOST:CONTAINER, both absolute paths".to_owned());
        };
        let mut volume = Self::new(host, container)?;
        for option in parts.next().into_iter().flat_map(|rest| rest.split(',')) {
            volume.set(option)?;
        }
        Ok(volume)
    }

    /// `type=bind,source=HOST,target=CONTAINER[,readonly][,bind-propagation=PROPAGATION]`, or what [`Self::parse`] takes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse_mount(text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            return Self::parse(text);
        }
        let (mut host, mut container, mut kind) = ("", "", "");
        let mut options = Vec::new();
        for part in text.split(',') {
            match part.split_once('=').unwrap_or((part, "true")) {
                ("type", value) => kind = value,
                ("source" | "src", value) => host = value,
                ("target" | "destination" | "dst", value) => container = value,
                ("readonly" | "ro", "true" | "1") => options.push("ro"),
                ("readonly" | "ro", "false" | "0") => options.push("rw"),
                ("bind-propagation", value) => options.push(value),
                (key, _) => {
                    return Err(format!(
                        "unknown key {key:?}; there are type, source, target, readonly, bind-propagation"
                    ));
                }
            }
        }
        if kind != "bind" {
            return Err(format!(
                "type {kind:?} is not supported; type=bind mounts a directory or file of the host"
            ));
        }
        let mut volume = Self::new(host, container)?;
        for option in options {
            volume.set(option)?;
        }
        Ok(volume)
    }

    fn new(host: &str, container: &str) -> Result<Self, String> {
        let is_below = host.starts_with("./") || host.starts_with("../") || host == ".";
        let host = match is_below {
            true => std::path::absolute(host)
                .map_err(|error| format!("{host:?}: {error}"))?
                .into_os_string()
                .into_string()
                .map_err(|path| format!("{path:?} is not UTF-8"))?,
            false => host.to_owned(),
        };
        if !host.starts_with('/') {
            return Err(format!(
                "{host:?} is no absolute path: there are no named volumes, use a directory of the host"
            ));
        }
        if !container.starts_with('/') {
            return Err(format!("{container:?} is no absolute path"));
        }
        Ok(Self {
            host,
            container: container.to_owned(),
            access: Access::ReadWrite,
            propagation: Propagation::Private,
            label: Label::Keep,
        })
    }

    fn set(&mut self, option: &str) -> Result<(), String> {
        match option {
            "ro" => self.access = Access::ReadOnly,
            "rw" => self.access = Access::ReadWrite,
            "rprivate" | "private" => self.propagation = Propagation::Private,
            "rslave" | "slave" => self.propagation = Propagation::Slave,
            "rshared" | "shared" => self.propagation = Propagation::Shared,
            "z" | "Z" => self.label = Label::Change,
            // The default of both.
            "rbind" | "bind" => {}
            other => {
                return Err(format!(
                    "unknown option {other:?}; there are ro, rw, rprivate, rslave, rshared, z, Z"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_have_options() {
        let volume = VolumeArg::parse("/a:/b:ro,rslave,Z").unwrap();
        assert_eq!(
            volume,
            VolumeArg {
                host: "/a".to_owned(),
                container: "/b".to_owned(),
                access: Access::ReadOnly,
                propagation: Propagation::Slave,
                label: Label::Change,
            }
        );
        let here = std::env::current_dir().unwrap().join("a");
        let below = VolumeArg::parse("./a:/b").unwrap();
        assert_eq!(below.host, here.to_str().unwrap());
        for text in ["", "/a", "data:/b", "/a:b", "/a:/b:exec"] {
            assert!(VolumeArg::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mount_is_the_same_in_other_words() {
        for (text, same) in [
            ("type=bind,source=/a,target=/b", "/a:/b"),
            ("type=bind,src=/a,dst=/b,readonly", "/a:/b:ro"),
            (
                "type=bind,src=/a,destination=/b,ro=true,bind-propagation=rshared",
                "/a:/b:ro,rshared",
            ),
        ] {
            for text in [text, same] {
                assert_eq!(
                    VolumeArg::parse_mount(text),
                    VolumeArg::parse(same),
                    "{text}"
                );
            }
        }
        for text in [
            "type=tmpfs,target=/b",
            "type=bind,target=/b",
            "type=bind,source=/a,target=/b,consistency=cached",
        ] {
            assert!(VolumeArg::parse_mount(text).is_err(), "{text}");
        }
    }
}
