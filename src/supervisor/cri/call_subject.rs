//! What a call is about, for the log: the id or name near the beginning of its request. Nothing else of a request is
//! ever read here: environment, arguments and credentials lie in other fields.
//!
//! ```text
//! u8 compressed | u32 length, big-endian | message        (gRPC over HTTP/2, "Length-Prefixed-Message")
//! message: (tag, value)*, tag = field << 3 | wire type    (protobuf.dev/programming-guides/encoding)
//! ```
//!
//! Only the first [`MOST`] bytes of a request are looked at. CRI's ids and names come first in their messages, since
//! clients write fields in the order of their numbers.

use std::ops::ControlFlow;

/// How many bytes of a request are looked at.
pub const MOST: usize = 4096;
/// How many characters of an id or name are shown.
const MOST_SHOWN: usize = 256;
/// The prefix of a gRPC message.
const PREFIX: usize = 5;

/// Where a request carries what it is about.
enum Place {
    /// An id in field 1.
    Id,
    /// `ImageSpec.image`: field 1 of field 1.
    Image,
    /// The pod's metadata: namespace and name.
    NewPod,
    /// The pod's id, and the name in the new container's metadata.
    NewContainer,
}

fn place(method: &str) -> Option<Place> {
    match method {
        "RunPodSandbox" => Some(Place::NewPod),
        "CreateContainer" => Some(Place::NewContainer),
        "PullImage" | "ImageStatus" | "RemoveImage" => Some(Place::Image),
        "StopPodSandbox"
        | "RemovePodSandbox"
        | "PodSandboxStatus"
        | "PodSandboxStats"
        | "StartContainer"
        | "StopContainer"
        | "RemoveContainer"
        | "ContainerStatus"
        | "ContainerStats"
        | "UpdateContainerResources"
        | "ReopenContainerLog"
        | "CheckpointContainer"
        | "ExecSync"
        | "Exec"
        | "Attach"
        | "PortForward"
        | "Kill" => Some(Place::Id),
        _ => None,
    }
}

/// The subject of a call of `method` whose request begins with `request`, prefix included; `None` where the method has
/// none, or the request does not tell.
#[must_use]
pub fn subject(method: &str, request: &[u8]) -> Option<String> {
    let place = place(method)?;
    let (prefix, message) = request.split_at_checked(PREFIX)?;
    if prefix.first() != Some(&0) {
        return None;
    }
    let text = |path: &[u32]| text(field(message, path)?);
    let found = match place {
        Place::Id => text(&[1]),
        Place::Image => text(&[1, 1]),
        Place::NewPod => {
            let name = text(&[1, 1, 1])?;
            Some(match text(&[1, 1, 3]) {
                Some(namespace) => format!("{namespace}/{name}"),
                None => name,
            })
        }
        Place::NewContainer => match (text(&[1]), text(&[2, 1, 1])) {
            (Some(pod), Some(name)) => Some(format!("{pod}/{name}")),
            (pod, name) => pod.or(name),
        },
    };
    found.filter(|subject| !subject.is_empty())
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some(text.chars().take(MOST_SHOWN).collect())
}

/// The bytes of the field at `path`, which has the field of each message on the way; cut off where `message` ends.
fn field<'a>(message: &'a [u8], path: &[u32]) -> Option<&'a [u8]> {
    let (first, rest) = path.split_first()?;
    let found = walk(message, *first)?;
    if rest.is_empty() {
        Some(found)
    } else {
        field(found, rest)
    }
}

fn walk(mut message: &[u8], wanted: u32) -> Option<&[u8]> {
    while let Some((tag, rest)) = varint(message) {
        match value(tag & 7, rest)? {
            ControlFlow::Break(found) if tag >> 3 == u64::from(wanted) => return Some(found),
            ControlFlow::Break(skipped) => message = rest_after(rest, skipped)?,
            ControlFlow::Continue(rest) => message = rest,
        }
    }
    None
}

/// `Break` with the bytes of a value that has a length, `Continue` with what follows another one.
fn value(wire_type: u64, rest: &[u8]) -> Option<ControlFlow<&[u8], &[u8]>> {
    match wire_type {
        0 => varint(rest).map(|(_, rest)| ControlFlow::Continue(rest)),
        1 => rest.get(8..).map(ControlFlow::Continue),
        2 => {
            let (length, rest) = varint(rest)?;
            let length = usize::try_from(length).ok()?.min(rest.len());
            rest.get(..length).map(ControlFlow::Break)
        }
        5 => rest.get(4..).map(ControlFlow::Continue),
        _ => None,
    }
}

/// What follows `skipped`, a part of `rest`.
fn rest_after<'a>(rest: &'a [u8], skipped: &[u8]) -> Option<&'a [u8]> {
    let (_, value) = varint(rest)?;
    value.get(skipped.len()..)
}

/// A number in base 128, the least significant group first; at most ten bytes.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f) << (7 * index).min(63);
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::api::cri;

    fn framed(message: &impl Message) -> Vec<u8> {
        let message = message.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0][..], &length, &message].concat()
    }

    fn pod_config() -> cri::PodSandboxConfig {
        cri::PodSandboxConfig {
            metadata: Some(cri::PodSandboxMetadata {
                name: "web".into(),
                uid: "u".into(),
                namespace: "shop".into(),
                attempt: 7,
            }),
            hostname: "h".into(),
            ..Default::default()
        }
    }

    fn new_container() -> cri::CreateContainerRequest {
        cri::CreateContainerRequest {
            pod_sandbox_id: "p1".into(),
            config: Some(cri::ContainerConfig {
                metadata: Some(cri::ContainerMetadata {
                    name: "app".into(),
                    attempt: 1,
                }),
                envs: vec![cri::KeyValue {
                    key: "SECRET".into(),
                    value: "x".repeat(2 * MOST),
                }],
                ..Default::default()
            }),
            sandbox_config: Some(pod_config()),
        }
    }

    #[test]
    fn each_kind_of_request_tells_its_subject() {
        let stop = cri::StopContainerRequest {
            container_id: "c1".into(),
            timeout: -1,
        };
        assert_eq!(subject("StopContainer", &framed(&stop)), Some("c1".into()));
        let run = cri::RunPodSandboxRequest {
            config: Some(pod_config()),
            runtime_handler: "r".into(),
        };
        let found = subject("RunPodSandbox", &framed(&run));
        assert_eq!(found, Some("shop/web".into()));
        let found = subject("CreateContainer", &framed(&new_container()));
        assert_eq!(found, Some("p1/app".into()));
        let pull = cri::PullImageRequest {
            image: Some(cri::ImageSpec {
                image: "busybox".into(),
                ..Default::default()
            }),
            auth: Some(cri::AuthConfig {
                password: "secret".into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(subject("PullImage", &framed(&pull)), Some("busybox".into()));
    }

    #[test]
    fn a_request_without_a_subject_has_none() {
        assert_eq!(subject("Version", &framed(&new_container())), None);
        let empty = cri::StopContainerRequest::default();
        assert_eq!(subject("StopContainer", &framed(&empty)), None);
        assert_eq!(subject("StopContainer", &[]), None);
        let mut compressed = framed(&new_container());
        compressed[0] = 1;
        assert_eq!(subject("CreateContainer", &compressed), None);
    }

    #[test]
    fn a_request_that_was_cut_off_anywhere_is_no_trouble() {
        let whole = framed(&new_container());
        for length in 0..64 {
            let found = subject("CreateContainer", &whole[..length]);
            assert!(
                found.is_none_or(|found| "p1/app".starts_with(&found)),
                "{length}"
            );
        }
        let cut = subject("CreateContainer", &whole[..MOST]);
        assert_eq!(cut, Some("p1/app".into()));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_no_trouble(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            for method in ["StopContainer", "RunPodSandbox", "CreateContainer", "PullImage"] {
                drop(subject(method, &bytes));
            }
        }
    }
}
