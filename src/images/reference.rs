//! Names of images as people write them, and what they mean: `busybox` is `docker.io/library/busybox:latest`.
//!
//! The grammar and the defaults are those of the `distribution/reference` package (`normalize.go`, `regexp.go`), which
//! docker, containerd and the kubelet share: `[DOMAIN/]PATH[:TAG][@DIGEST]`.

use std::fmt;

use super::digest::Digest;

/// A normalised name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Not a name of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no image name: {reason}")]
pub struct ReferenceError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Characters of a repository's name, with the domain.
const LONGEST: usize = 255;

impl Reference {
    /// Reads a name and gives it the domain, `library/` and tag that it leaves out.
    ///
    /// # Errors
    /// [`ReferenceError`].
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        parse(text).map_err(|reason| ReferenceError {
            text: text.chars().take(300).collect(),
            reason,
        })
    }

    /// Domain and path: `docker.io/library/busybox`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// `REPOSITORY:TAG`, where there is a tag: a name with a digest and no tag has none.
    #[must_use]
    pub fn tagged(&self) -> Option<String> {
        let tag = self.tag.as_ref()?;
        Some(format!("{}:{tag}", self.repository))
    }

    /// `REPOSITORY@DIGEST`, where there is a digest.
    #[must_use]
    pub fn digested(&self) -> Option<String> {
        let digest = self.digest.as_ref()?;
        Some(format!("{}@{digest}", self.repository))
    }

    /// The name of the image of this repository that has `digest`.
    #[must_use]
    pub fn with_digest(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.repository)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

/// Whether `text` is a tag.
pub(super) fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = text.bytes();
    bytes.next().is_some_and(word)
        && text.len() <= 128
        && bytes.all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (
            rest,
            Some(Digest::parse(digest).map_err(|_| "what follows @ is no sha256 digest")?),
        ),
        None => (text, None),
    };
    // A colon before the last slash is that of a port.
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        Some(_) | None => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err("its tag has characters that tags have not, or more than 128");
    }
    if name.is_empty() {
        return Err("it is empty");
    }
    let (domain, path) = match name.split_once('/') {
        Some((first, rest)) if is_domain_by_looks(first) => (first, rest.to_owned()),
        Some(_) | None => (DEFAULT_DOMAIN, name.to_owned()),
    };
    let domain = if domain == "index.docker.io" {
        DEFAULT_DOMAIN
    } else {
        domain
    };
    let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
        format!("library/{path}")
    } else {
        path
    };
    if !is_domain(domain) {
        return Err("its domain is not valid");
    }
    if !path.split('/').all(is_path_component) {
        return Err("its path has other than small letters, digits and single separators");
    }
    let repository = format!("{domain}/{path}");
    if repository.len() > LONGEST {
        return Err("it has more than 255 characters");
    }
    let tag = match (tag, &digest) {
        (None, None) => Some("latest"),
        (tag, _) => tag,
    };
    Ok(Reference {
        repository,
        tag: tag.map(str::to_owned),
        digest,
    })
}

const DEFAULT_DOMAIN: &str = "docker.io";

/// Whether the first part of a path is a domain and no part of the path.
fn is_domain_by_looks(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':'])
        || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (domain, None),
    };
    let port_valid =
        port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    let address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = address {
        return port_valid && address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    port_valid && host.split('.').all(label)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = component
        .bytes()
        .next()
        .zip(component.bytes().next_back())
        .is_some_and(|(first, last)| word(first) && word(last));
    let mut separators = component
        .split(|character: char| character.is_ascii() && u8::try_from(character).is_ok_and(word));
    ends && separators.all(|separator| {
        matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_leaves_out_is_docker_hubs_and_latest() {
        let hex = "a".repeat(64);
        for (text, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("user/app", "docker.io/user/app:latest"),
            ("docker.io/busybox", "docker.io/library/busybox:latest"),
            (
                "index.docker.io/library/busybox:A",
                "docker.io/library/busybox:A",
            ),
            ("localhost/app", "localhost/app:latest"),
            ("host:5000/a/b-c--d__e.f:x", "host:5000/a/b-c--d__e.f:x"),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
            ("Host/app", "Host/app:latest"),
            (
                &format!("busybox@sha256:{hex}"),
                &format!("docker.io/library/busybox@sha256:{hex}"),
            ),
            (
                &format!("quay.io/a:1@sha256:{hex}"),
                &format!("quay.io/a:1@sha256:{hex}"),
            ),
        ] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), full);
            assert_eq!(Reference::parse(full).unwrap().to_string(), full);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            ":tag",
            "a:",
            "a:-x",
            "UPPER",
            "a//b",
            "a/",
            "/a",
            "a..b",
            "a___b",
            "-a",
            "a_",
            "a@sha256:12",
            "a b",
            "a\n",
            "é",
            "host:port/a",
            "a.-b/c",
            "../../etc",
            &"a/".repeat(130),
            &format!("a:{}", "t".repeat(129)),
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }
}
