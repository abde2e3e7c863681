//! One connection to a shim: requests out, answers in, in any order. ttrpc's frames (containerd/ttrpc `PROTOCOL.md`):
//!
//! ```text
//! u32 length of the payload | u32 stream | u8 type (1 request, 2 response) | u8 flags | payload     big-endian
//! ```
//!
//! Not the crate's client, which closes the connection where a caller gives up while its request is being written
//! (`ttrpc` `asynchronous/connection.rs`, `write_message`). That is what becomes of the calls to a stopped shim once its
//! socket's buffer is full, and a closed connection means here that the shim is gone. So a request is written whole or
//! not at all, and this side closes a connection only when nobody has a use for it any more.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc::proto::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use crate::supervisor::crash;

const HEADER_LENGTH: usize = 10;
const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
/// The longest payload (ttrpc `channel.go`, `messageLengthMax`).
const MAX_PAYLOAD: usize = 4 << 20;
/// How many requests may wait for the one that is being written; the callers of further ones wait themselves.
const QUEUE_BOUND: usize = 16;

/// A connection. Dropped, it is closed.
#[derive(Debug)]
pub struct Line {
    calls: Arc<Calls>,
    requests: mpsc::Sender<(u32, Vec<u8>)>,
    tasks: [AbortHandle; 2],
}

impl Drop for Line {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Who waits for an answer.
#[derive(Debug)]
struct Calls {
    waiting: Mutex<Waiting>,
    closed: watch::Sender<Option<io::ErrorKind>>,
}

#[derive(Debug)]
struct Waiting {
    next: u32,
    answers: HashMap<u32, oneshot::Sender<Vec<u8>>>,
}

impl Calls {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // No code under the lock can panic, so a poisoned map is whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_waited_for(&self, stream: u32) -> bool {
        self.waiting().answers.contains_key(&stream)
    }

    /// Ends every call. Under the lock, so that no call can come in between.
    fn close(&self, why: io::ErrorKind) {
        let mut waiting = self.waiting();
        self.closed.send_modify(|closed| {
            closed.get_or_insert(why);
        });
        waiting.answers = HashMap::new();
    }

    fn why_closed(&self) -> Option<io::ErrorKind> {
        *self.closed.borrow()
    }
}

/// A call that is waited for; dropped, it no longer is.
struct Ticket<'a> {
    calls: &'a Calls,
    stream: u32,
    answer: oneshot::Receiver<Vec<u8>>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut waiting = self.calls.waiting();
        waiting.answers.remove(&self.stream);
        if waiting.answers.is_empty() {
            waiting.answers.shrink_to_fit();
        }
    }
}

impl Line {
    /// A line over a connected socket.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        let calls = Arc::new(Calls {
            waiting: Mutex::new(Waiting {
                next: 1,
                answers: HashMap::new(),
            }),
            closed: watch::Sender::new(None),
        });
        let (requests, queue) = mpsc::channel(QUEUE_BOUND);
        let (read, write) = stream.into_split();
        let reading = tokio::spawn(read_answers(read, Arc::clone(&calls)));
        let writing = tokio::spawn(write_requests(write, queue, Arc::clone(&calls)));
        Self {
            calls,
            requests,
            tasks: [reading.abort_handle(), writing.abort_handle()],
        }
    }

    /// Sends a request and waits for its answer, without limit. Dropping the future gives up waiting and nothing else;
    /// a request that is still in the queue is not sent then.
    ///
    /// # Errors
    /// The connection is closed, or gave an answer that is none.
    pub async fn request(&self, request: &Request) -> io::Result<Response> {
        let payload = request.write_to_bytes().map_err(io::Error::other)?;
        let mut ticket = self.ticket()?;
        let frame = frame(ticket.stream, &payload)?;
        // An error says what the reading end knows better.
        drop(self.requests.send((ticket.stream, frame)).await);
        crash::sent(&request.method).await;
        match (&mut ticket.answer).await {
            Ok(payload) => Response::parse_from_bytes(&payload)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
            Err(_) => Err(self.error()),
        }
    }

    /// Waits until the connection is closed.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut closed = self.calls.closed.subscribe();
        async move {
            // An error: this side has closed it.
            drop(closed.wait_for(Option::is_some).await);
        }
    }

    fn ticket(&self) -> io::Result<Ticket<'_>> {
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.calls.waiting();
        if self.calls.why_closed().is_some() {
            return Err(self.error());
        }
        let stream = waiting.next;
        // A client's streams are odd.
        waiting.next = stream.wrapping_add(2);
        waiting.answers.insert(stream, sender);
        drop(waiting);
        Ok(Ticket {
            calls: &self.calls,
            stream,
            answer,
        })
    }

    fn error(&self) -> io::Error {
        self.calls
            .why_closed()
            .unwrap_or(io::ErrorKind::UnexpectedEof)
            .into()
    }
}

fn frame(stream: u32, payload: &[u8]) -> io::Result<Vec<u8>> {
    let too_large = || io::Error::from(io::ErrorKind::FileTooLarge);
    if payload.len() > MAX_PAYLOAD {
        return Err(too_large());
    }
    let length = u32::try_from(payload.len()).map_err(|_| too_large())?;
    let mut frame = Vec::with_capacity(HEADER_LENGTH + payload.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(&[REQUEST, 0]);
    frame.extend_from_slice(payload);
    Ok(frame)
}

async fn write_requests(
    mut half: OwnedWriteHalf,
    mut queue: mpsc::Receiver<(u32, Vec<u8>)>,
    calls: Arc<Calls>,
) {
    while let Some((stream, frame)) = queue.recv().await {
        if !calls.is_waited_for(stream) {
            continue;
        }
        if let Err(error) = half.write_all(&frame).await {
            return calls.close(error.kind());
        }
    }
}

async fn read_answers(mut half: OwnedReadHalf, calls: Arc<Calls>) {
    let error = loop {
        match read_frame(&mut half).await {
            Ok((stream, RESPONSE, payload)) => {
                let answer = calls.waiting().answers.remove(&stream);
                if let Some(answer) = answer {
                    // Nobody may wait for it any more.
                    drop(answer.send(payload));
                }
            }
            // Nothing else is due on a stream of one request, and nothing follows from it.
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    calls.close(error.kind());
}

async fn read_frame(half: &mut OwnedReadHalf) -> io::Result<(u32, u8, Vec<u8>)> {
    let mut header = [0; HEADER_LENGTH];
    half.read_exact(&mut header).await?;
    let [l0, l1, l2, l3, s0, s1, s2, s3, kind, _] = header;
    let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3]))
        .ok()
        .filter(|length| *length <= MAX_PAYLOAD)
        .ok_or(io::ErrorKind::InvalidData)?;
    let mut payload = vec![0; length];
    half.read_exact(&mut payload).await?;
    Ok((u32::from_be_bytes([s0, s1, s2, s3]), kind, payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    const LIMIT: Duration = Duration::from_secs(10);

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    }

    fn request(payload: Vec<u8>) -> Request {
        Request {
            payload,
            ..Request::default()
        }
    }

    async fn answer(far: &mut UnixStream, stream: u32) {
        let payload = Response::default().write_to_bytes().unwrap();
        let mut answer = frame(stream, &payload).unwrap();
        answer[8] = RESPONSE;
        far.write_all(&answer).await.unwrap();
    }

    #[test]
    fn callers_that_give_up_on_a_silent_shim_do_not_close_the_connection() {
        runtime().block_on(async {
            let (near, mut far) = UnixStream::pair().unwrap();
            let line = Line::new(near);
            // Far more than the socket holds.
            for _ in 0..64 {
                let request = request(vec![0; 64 << 10]);
                let asked = timeout(Duration::from_millis(1), line.request(&request));
                assert!(asked.await.is_err());
            }
            let last = request(b"last".to_vec());
            let served = async {
                loop {
                    let mut header = [0; HEADER_LENGTH];
                    far.read_exact(&mut header).await.unwrap();
                    let word =
                        |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
                    let mut payload = vec![0; word(0) as usize];
                    far.read_exact(&mut payload).await.unwrap();
                    if payload == last.write_to_bytes().unwrap() {
                        return answer(&mut far, word(4)).await;
                    }
                }
            };
            let both = async { tokio::join!(line.request(&last), served) };
            let (answered, ()) = timeout(LIMIT, both).await.unwrap();
            answered.unwrap();
        });
    }

    #[test]
    fn every_call_ends_with_the_connection_and_no_further_one_begins() {
        runtime().block_on(async {
            let (near, far) = UnixStream::pair().unwrap();
            let line = Line::new(near);
            let request = request(Vec::new());
            let hang_up = async {
                tokio::task::yield_now().await;
                drop(far);
            };
            let calls = async {
                tokio::join!(
                    line.request(&request),
                    line.request(&request),
                    line.closed(),
                    hang_up
                )
            };
            let (one, other, ..) = timeout(LIMIT, calls).await.unwrap();
            one.unwrap_err();
            other.unwrap_err();
            timeout(LIMIT, line.request(&request))
                .await
                .unwrap()
                .unwrap_err();
            assert!(line.calls.waiting().answers.is_empty());
        });
    }

    #[test]
    fn a_frame_longer_than_any_message_is_an_error() {
        runtime().block_on(async {
            let (near, mut far) = UnixStream::pair().unwrap();
            let line = Line::new(near);
            far.write_all(&[0xff; HEADER_LENGTH]).await.unwrap();
            timeout(LIMIT, line.closed()).await.unwrap();
            assert_eq!(line.error().kind(), io::ErrorKind::InvalidData);
        });
    }
}
