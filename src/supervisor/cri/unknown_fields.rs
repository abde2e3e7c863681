//! Fields of a request that the generated protocol does not know, found in the message as it was sent: prost drops them
//! without a word, and a newer kubelet may mean something by them.
//!
//! Nothing lists the known fields. The generated types are asked, by messages of one field that a type accepts only
//! where it knows the field so:
//!
//! | field N of | unknown | number, bool, enum, map | string, bytes | message |
//! |---|---|---|---|---|
//! | 4 bytes of the wire type "32 bits", which CRI has nowhere | taken | refused | refused | refused |
//! | a varint | | taken | refused | refused |
//! | a length and an unknown field whose bytes are not UTF-8 | | | string: refused | taken |
//! | a length and bytes that are no message | | | bytes: taken | refused |
//!
//! What it costs: each field is looked up by its path, and a type is asked once for each.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use prost::Message;

use crate::api::cri;

/// The protocol that the crate k8s-cri has.
pub const PROTOCOL: &str = "CRI 0.32";
/// After so many unknown fields of one request the others are not looked for.
const MAX_FOUND: usize = 16;

/// The numbers of the fields from the request down to one field.
pub type FieldPath = Vec<u32>;

/// Whether the bytes are a message of the method's type.
type Decodes = fn(&[u8]) -> bool;

/// A method whose requests are looked at.
#[derive(Debug)]
pub struct Method {
    /// Its name, as in the request's path.
    pub name: &'static str,
    decodes: Decodes,
    #[cfg(test)]
    request: &'static str,
}

macro_rules! methods {
    ($($name:literal $request:ident)*) => {
        &[$(Method {
            name: $name,
            decodes: |bytes| cri::$request::decode(bytes).is_ok(),
            #[cfg(test)]
            request: stringify!($request),
        }),*]
    };
}

/// Every method of `runtime.v1.RuntimeService` and `runtime.v1.ImageService`.
const METHODS: &[Method] = methods! {
    "Version" VersionRequest
    "RunPodSandbox" RunPodSandboxRequest
    "StopPodSandbox" StopPodSandboxRequest
    "RemovePodSandbox" RemovePodSandboxRequest
    "PodSandboxStatus" PodSandboxStatusRequest
    "ListPodSandbox" ListPodSandboxRequest
    "CreateContainer" CreateContainerRequest
    "StartContainer" StartContainerRequest
    "StopContainer" StopContainerRequest
    "RemoveContainer" RemoveContainerRequest
    "ListContainers" ListContainersRequest
    "ContainerStatus" ContainerStatusRequest
    "UpdateContainerResources" UpdateContainerResourcesRequest
    "ReopenContainerLog" ReopenContainerLogRequest
    "ExecSync" ExecSyncRequest
    "Exec" ExecRequest
    "Attach" AttachRequest
    "PortForward" PortForwardRequest
    "ContainerStats" ContainerStatsRequest
    "ListContainerStats" ListContainerStatsRequest
    "PodSandboxStats" PodSandboxStatsRequest
    "ListPodSandboxStats" ListPodSandboxStatsRequest
    "UpdateRuntimeConfig" UpdateRuntimeConfigRequest
    "Status" StatusRequest
    "CheckpointContainer" CheckpointContainerRequest
    "GetContainerEvents" GetEventsRequest
    "ListMetricDescriptors" ListMetricDescriptorsRequest
    "ListPodSandboxMetrics" ListPodSandboxMetricsRequest
    "RuntimeConfig" RuntimeConfigRequest
    "ListImages" ListImagesRequest
    "ImageStatus" ImageStatusRequest
    "PullImage" PullImageRequest
    "RemoveImage" RemoveImageRequest
    "ImageFsInfo" ImageFsInfoRequest
};

/// The method that a gRPC path names: `/runtime.v1.RuntimeService/Version`.
#[must_use]
pub fn method(path: &str) -> Option<&'static Method> {
    let (service, name) = path.strip_prefix("/runtime.v1.")?.split_once('/')?;
    let is_ours = matches!(service, "RuntimeService" | "ImageService");
    let found = METHODS.iter().find(|method| method.name == name);
    found.filter(|_| is_ours)
}

/// What is within a known field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Nothing to look at.
    Value,
    Message,
}

/// What has been asked of the types: method, path. Only known fields are kept, so that the protocol bounds its size.
#[derive(Debug, Default)]
pub struct KnownFields(Mutex<HashMap<&'static str, HashMap<FieldPath, Content>>>);

impl KnownFields {
    /// The fields of `message`, a request of `method`, that its type does not know; sorted, at most [`MAX_FOUND`]
    /// and one that is refused. A
    /// message that is malformed is looked at up to there.
    #[must_use]
    pub fn unknown(&self, method: &'static Method, message: &[u8]) -> Vec<FieldPath> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut search = Search {
            decodes: method.decodes,
            known: known.entry(method.name).or_default(),
            path: Vec::new(),
            method,
            found: BTreeSet::new(),
        };
        // None is a message that is malformed, which the decoder refuses by itself.
        let _complete = search.walk(message);
        search.found.into_iter().collect()
    }
}

const VARINT: u8 = 0;
const BITS_64: u8 = 1;
const LENGTH: u8 = 2;
const GROUP: u8 = 3;
const BITS_32: u8 = 5;

struct Search<'a> {
    decodes: Decodes,
    known: &'a mut HashMap<FieldPath, Content>,
    path: FieldPath,
    method: &'static Method,
    found: BTreeSet<FieldPath>,
}

impl Search<'_> {
    /// Looks at each field (protobuf.dev, "Encoding"); `None` where it stops before the end.
    fn walk(&mut self, mut rest: &[u8]) -> Option<()> {
        while !rest.is_empty() {
            let (key, after) = varint(rest)?;
            let (number, wire) = (u32::try_from(key >> 3).ok()?, u8::try_from(key & 7).ok()?);
            let (content, after) = match wire {
                VARINT => (None, varint(after)?.1),
                BITS_64 => (None, after.get(8..)?),
                BITS_32 => (None, after.get(4..)?),
                LENGTH => {
                    let (length, after) = varint(after)?;
                    let (content, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
                    (Some(content), after)
                }
                // No field of CRI is a group, so that this one is unknown; where it ends is not worth the code.
                GROUP => (None, &[][..]),
                _ => return None,
            };
            self.path.push(number);
            match (self.content(), content) {
                (None, _) => self.note(),
                (Some(Content::Message), Some(content)) => self.walk(content)?,
                (Some(Content::Message | Content::Value), _) => {}
            }
            self.path.pop();
            rest = after;
        }
        Some(())
    }

    /// Remembers an unknown field. Those that are only told in the log have a bound; the first that is refused never is too
    /// many.
    fn note(&mut self) {
        let has_room = self.found.len() < MAX_FOUND;
        if has_room || (self.found.len() == MAX_FOUND && refusal(self.method, &self.path).is_some())
        {
            self.found.insert(self.path.clone());
        }
    }

    /// What the field at `path` has; `None` where the type does not know it.
    fn content(&mut self) -> Option<Content> {
        if let Some(content) = self.known.get(&self.path) {
            return Some(*content);
        }
        if self.found.contains(&self.path) {
            return None;
        }
        let takes = |wire, value: &[u8]| (self.decodes)(&probe(&self.path, wire, value));
        if takes(BITS_32, &[0; 4]) {
            return None;
        }
        // The key of field 536870911, which no type has: 0xfa 0xff.. is not UTF-8; then an empty value.
        let not_text = [6, 0xfa, 0xff, 0xff, 0xff, 0x0f, 0];
        let not_message = [1, 0x07];
        let is_message =
            !takes(VARINT, &[0]) && takes(LENGTH, &not_text) && !takes(LENGTH, &not_message);
        let content = match is_message {
            true => Content::Message,
            false => Content::Value,
        };
        self.known.insert(self.path.clone(), content);
        Some(content)
    }
}

/// A message that has only the field at `path`, with `value` as its encoding after the key.
fn probe(path: &[u32], wire: u8, value: &[u8]) -> Vec<u8> {
    let mut message = value.to_vec();
    for (depth, number) in path.iter().rev().enumerate() {
        let wire = if depth == 0 { wire } else { LENGTH };
        let mut outer = Vec::new();
        put_varint(&mut outer, (u64::from(*number) << 3) | u64::from(wire));
        if depth > 0 {
            put_varint(&mut outer, message.len() as u64);
        }
        outer.append(&mut message);
        message = outer;
    }
    message
}

fn put_varint(into: &mut Vec<u8>, number: u64) {
    prost::encoding::encode_varint(number, into);
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut rest = bytes;
    let number = prost::encoding::decode_varint(&mut rest).ok()?;
    Some((number, rest))
}

/// Why a request with this unknown field is refused; `None` where it is only told in the log.
///
/// Refusing all of them would make a newer kubelet useless that sends a field which only informs (`ImageSpec.image_ref`,
/// the sums of a pod's resources were such). Fields that were added to a container's configuration and to its mounts,
/// though, were always sent on a user's demand and always changed how the container runs.
#[must_use]
pub fn refusal(method: &Method, path: &[u32]) -> Option<String> {
    let field = match (method.name, path) {
        ("CreateContainer", [2, 18]) => "config.stop_signal".to_owned(),
        ("CreateContainer", [2, 7, 10]) => "config.mounts.image_sub_path".to_owned(),
        ("CreateContainer", [2, number]) => format!("config: field number {number}"),
        ("CreateContainer", [2, 7, number]) => format!("config.mounts: field number {number}"),
        _ => return None,
    };
    Some(format!(
        "{field}, which is newer than the protocol of this version ({PROTOCOL})"
    ))
}

#[cfg(test)]
#[path = "unknown_fields_tests.rs"]
mod tests;
