//! A gRPC service whose requests are looked at before their handler is called: what they have that the protocol does not
//! know is refused, or told in the log once for each method and field.
//!
//! A request is one message: a byte (0: not compressed), its length in 4 bytes, and itself (gRPC, "Length-Prefixed-
//! Message"). Its bytes pass through as they come, and a copy is looked at when the last of them is there.

use std::collections::HashSet;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::NamedService;
use tower::Service as HttpService;

use super::unknown_fields::{FieldPath, KnownFields, Method, PROTOCOL, method, refusal};
use crate::supervisor::error::Error;

/// Before a message: the byte and the length.
const PREFIX: usize = 5;
/// The most different fields that are told in the log.
const MAX_TOLD: usize = 1024;

/// What the services of one server share.
#[derive(Debug, Default)]
pub struct Protocol {
    known: KnownFields,
    told: Mutex<HashSet<(&'static str, FieldPath)>>,
    /// The longest message that the handlers take, in bytes; longer ones are theirs to refuse.
    longest: usize,
}

impl Protocol {
    /// One for messages of at most `longest` bytes.
    #[must_use]
    pub fn new(longest: usize) -> Arc<Self> {
        Arc::new(Self {
            longest,
            ..Self::default()
        })
    }

    /// Looks at a request of `method`.
    fn check(&self, method: &'static Method, message: &[u8]) -> Result<(), Status> {
        for path in self.known.unknown(method, message) {
            if let Some(reason) = refusal(method, &path) {
                return Err(Error::Unsupported(reason).into());
            }
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.len() < MAX_TOLD && told.insert((method.name, path.clone())) {
                let numbers: Vec<_> = path.iter().map(u32::to_string).collect();
                log::warn!(call = method.name, field = &*numbers.join("."), protocol = PROTOCOL;
                    "a request has a field that is newer than this version's protocol: it has no effect");
            }
        }
        Ok(())
    }
}

/// The service `S`, with requests that were looked at.
#[derive(Debug, Clone)]
pub struct Checked<S> {
    service: S,
    protocol: Arc<Protocol>,
}

impl<S> Checked<S> {
    /// Puts the check before `service`.
    pub const fn new(service: S, protocol: Arc<Protocol>) -> Self {
        Self { service, protocol }
    }
}

impl<S: NamedService> NamedService for Checked<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> HttpService<http::Request<Body>> for Checked<S>
where
    S: HttpService<http::Request<Body>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let request = match method(request.uri().path()) {
            Some(method) => request.map(|inner| {
                Body::new(Watched {
                    inner,
                    seen: Vec::new(),
                    state: State::Watching(method),
                    protocol: Arc::clone(&self.protocol),
                })
            }),
            None => request,
        };
        self.service.call(request)
    }
}

/// Whether a request's body is still looked at.
enum State {
    Watching(&'static Method),
    Done,
}

/// The body of a request, with a copy of what has passed.
struct Watched {
    inner: Body,
    seen: Vec<u8>,
    state: State,
    protocol: Arc<Protocol>,
}

impl Watched {
    /// Takes note of `data`, and checks the message when all of it is there.
    fn pass(&mut self, data: &[u8]) -> Result<(), Status> {
        let State::Watching(method) = self.state else {
            return Ok(());
        };
        self.seen.extend_from_slice(data);
        let Some((prefix, message)) = self.seen.split_first_chunk::<PREFIX>() else {
            return Ok(());
        };
        let [compressed, length @ ..] = *prefix;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        // What is compressed or too long is refused by the handler.
        let checked = match compressed == 0 && length <= self.protocol.longest {
            false => Ok(()),
            true => match message.get(..length) {
                Some(message) => self.protocol.check(method, message),
                None => return Ok(()),
            },
        };
        self.state = State::Done;
        self.seen = Vec::new();
        checked
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let frame = match std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other),
        };
        let passed = frame.data_ref().map_or(Ok(()), |data| this.pass(data));
        Poll::Ready(Some(passed.map(|()| frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
