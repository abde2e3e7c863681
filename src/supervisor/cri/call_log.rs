//! One line in the log for each call that was refused or has failed: a layer around all services of the socket.
//!
//! ```text
//! INFO a call was refused  method subject code error milliseconds     the client's doing: NotFound, InvalidArgument, ..
//! WARN a call failed       method subject code error milliseconds     ours, or the machine's: Internal, DeadlineExceeded, ..
//! INFO a call was given up method subject milliseconds                it has no answer: the client has gone
//! ```
//!
//! The code is where gRPC has it: in the headers of an answer without messages, else in the trailers. So calls that tonic
//! itself refuses are logged too: an unknown method, a request that cannot be decoded.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::body::{Bytes, Frame, SizeHint};
use log::Level;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::call_subject;

/// Logs the calls of the services below it.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallLog;

impl<S> Layer<S> for CallLog {
    type Service = Logged<S>;

    fn layer(&self, inner: S) -> Logged<S> {
        Logged(inner)
    }
}

/// The services, logged.
#[derive(Debug, Clone)]
pub struct Logged<S>(S);

impl<S> Service<Request<Body>> for Logged<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = Call::new(request.uri().path());
        let seen = Arc::clone(&call.seen);
        let request = request.map(|body| Body::new(RequestBody { body, seen }));
        let answer = self.0.call(request);
        Box::pin(async move {
            let mut open = Open(Some(call));
            let response = answer.await?;
            let call = open.0.take();
            if let (Some(call), Some(status)) = (&call, Status::from_header_map(response.headers()))
            {
                call.answered(&status);
            }
            Ok(response.map(|body| AnswerBody { body, call }))
        })
    }
}

/// A call that has begun.
#[derive(Debug)]
struct Call {
    method: String,
    /// The beginning of its request.
    seen: Arc<Mutex<Vec<u8>>>,
    began: Instant,
}

impl Call {
    fn new(path: &str) -> Self {
        let method = path.rsplit('/').next().unwrap_or_default();
        Self {
            method: method.chars().take(64).collect(),
            seen: Arc::default(),
            began: Instant::now(),
        }
    }

    fn subject(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let subject = call_subject::subject(&self.method, &seen);
        subject.unwrap_or_else(|| "-".to_owned())
    }

    fn answered(&self, status: &Status) {
        let (level, what) = match severity(status.code()) {
            Severity::None => return,
            Severity::Refused => (Level::Info, "a call was refused"),
            Severity::Failed => (Level::Warn, "a call failed"),
        };
        log::log!(
            level,
            method = self.method.as_str(),
            subject = self.subject().as_str(),
            code:? = status.code(),
            error = status.message(),
            milliseconds = milliseconds(self.began);
            "{what}"
        );
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Whose doing a code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    None,
    Refused,
    Failed,
}

const fn severity(code: Code) -> Severity {
    match code {
        Code::Ok => Severity::None,
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => Severity::Refused,
        Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Severity::Failed,
    }
}

/// A call without an answer yet. The server drops it where the client resets the stream, hangs up, or lets its deadline
/// pass; and at the supervisor's end.
struct Open(Option<Call>);

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            log::info!(
                method = call.method.as_str(),
                subject = call.subject().as_str(),
                milliseconds = milliseconds(call.began);
                "a call was given up: its client has gone, or this supervisor ends"
            );
        }
    }
}

/// A request's body, whose beginning is kept.
struct RequestBody {
    body: Body,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl hyper::body::Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let room = call_subject::MOST.saturating_sub(seen.len());
            seen.extend(data.iter().take(room));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body, whose trailers say how the call has ended.
#[derive(Debug)]
pub struct AnswerBody {
    body: Body,
    call: Option<Call>,
}

impl hyper::body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let ended = match &polled {
            Poll::Ready(Some(Ok(frame))) => frame.trailers_ref().and_then(Status::from_header_map),
            Poll::Ready(Some(Err(status))) => Some(status.clone()),
            Poll::Ready(None) | Poll::Pending => None,
        };
        if let Some(status) = ended
            && let Some(call) = self.call.take()
        {
            call.answered(&status);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
