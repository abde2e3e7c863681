//! One call of the task service on the bare wire (ttrpc's `PROTOCOL.md`): what CRI has no call for.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use containerd_shim_protos::api::PauseRequest;
use containerd_shim_protos::protobuf::Message as _;
use containerd_shim_protos::ttrpc::{Code, Request, Response};

use super::poll;

/// Calls `method`, whose request is an id and nothing else (Pause, Resume).
pub fn by_id(address: &str, method: &str, id: &str) -> Result<(), String> {
    call(address, method, id).map_err(|error| format!("{method} of {id}: {error}"))?
}

fn call(address: &str, method: &str, id: &str) -> std::io::Result<Result<(), String>> {
    let path = address.strip_prefix("unix://").unwrap_or(address);
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(poll::DEADLINE))?;
    // Pause and Resume have the same fields.
    let mut named = PauseRequest::new();
    named.id = id.to_owned();
    let mut request = Request::new();
    request.service = "containerd.task.v2.Task".to_owned();
    request.method = method.to_owned();
    request.payload = named.write_to_bytes()?;
    let payload = request.write_to_bytes()?;
    // Length, stream, type (request), flags.
    let length = u32::try_from(payload.len()).map_err(std::io::Error::other)?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(1u32.to_be_bytes());
    frame.extend([1, 0]);
    frame.extend(payload);
    stream.write_all(&frame)?;
    let mut head = [0; 10];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let mut answer = vec![0; usize::try_from(length).map_err(std::io::Error::other)?];
    stream.read_exact(&mut answer)?;
    let answer = Response::parse_from_bytes(&answer)?;
    let status = answer.status.get_or_default();
    Ok(match status.code.enum_value_or_default() {
        Code::OK => Ok(()),
        code => Err(format!("{code:?}: {}", status.message)),
    })
}
