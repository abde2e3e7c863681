//! ttrpc on the bare wire: a connection to a task service, under any service name, every answer with a deadline.
//!
//! It shares no code with the server under test but the messages. A frame (ttrpc's `PROTOCOL.md`):
//!
//! ```text
//! u32 length | u32 stream id | u8 type (1 request, 2 response) | u8 flags | payload
//! ```

use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc::{Code, Request, Response};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long any call may take on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A status that is not OK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    pub message: String,
}

pub type Answer<T> = Result<T, Failure>;

/// One connection to the shim.
pub struct Connection {
    pub stream: UnixStream,
    next: u32,
    early: HashMap<u32, Vec<u8>>,
}

impl Connection {
    pub fn over(stream: UnixStream) -> Self {
        Self {
            stream,
            next: 1,
            early: HashMap::new(),
        }
    }

    /// Writes a request and returns the id of its stream.
    pub fn send(&mut self, service: &str, method: &str, body: &impl Message) -> io::Result<u32> {
        let mut request = Request::new();
        request.service = service.to_owned();
        request.method = method.to_owned();
        request.payload = body.write_to_bytes().unwrap();
        request.timeout_nano = i64::try_from(DEADLINE.as_nanos()).unwrap();
        let id = self.next;
        self.next += 2;
        write_frame(&mut self.stream, id, 1, &request.write_to_bytes().unwrap())?;
        Ok(id)
    }

    /// Reads until the answer of stream `id` is there.
    pub fn receive<R: Message>(&mut self, id: u32) -> io::Result<Answer<R>> {
        let payload = loop {
            if let Some(payload) = self.early.remove(&id) {
                break payload;
            }
            let (stream, _, payload) = read_frame(&mut self.stream)?;
            self.early.insert(stream, payload);
        };
        let response = Response::parse_from_bytes(&payload).map_err(io::Error::other)?;
        let status = response.status.get_or_default();
        match status.code.enum_value_or_default() {
            Code::OK => Ok(Ok(
                R::parse_from_bytes(&response.payload).map_err(io::Error::other)?
            )),
            code => Ok(Err(Failure {
                code,
                message: status.message.clone(),
            })),
        }
    }
}

pub fn write_frame(stream: &mut impl Write, id: u32, kind: u8, payload: &[u8]) -> io::Result<()> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(id.to_be_bytes());
    frame.extend([kind, 0]);
    frame.extend(payload);
    stream.write_all(&frame)
}

pub fn read_frame(stream: &mut impl Read) -> io::Result<(u32, u8, Vec<u8>)> {
    let mut header = [0; 10];
    stream.read_exact(&mut header)?;
    let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
    let mut payload = vec![0; usize::try_from(word(0)).unwrap()];
    stream.read_exact(&mut payload)?;
    Ok((word(4), header[8], payload))
}

/// Builds a request: each field listed is set from what follows it, converted.
macro_rules! request {
    ($kind:ident { $($field:ident: $value:expr),* $(,)? }) => {{
        let mut request = $kind::new();
        $(request.$field = $value.into();)*
        request
    }};
}
pub(crate) use request;
