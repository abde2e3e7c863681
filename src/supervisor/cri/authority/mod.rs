//! A connection whose requests have an `:authority` that h2 takes.
//!
//! Clients of unix sockets send the socket's path there: gRPC's C core (Python, Ruby, PHP) with its slashes encoded, Java
//! and old versions of Go as it is. h2 resets such streams with PROTOCOL_ERROR (hyperium/h2 pull request 487, open since
//! 2020; grpc/grpc issue 38142; grpc/grpc-java issue 12664), Go's server and so containerd takes them. Nothing here reads
//! the authority, so that its `/` and `%` are replaced before h2 sees them.
//!
//! ```text
//! preface (24 bytes) --> frame --> frame ..         RFC 9113, 3.4 and 4.1
//!                        HEADERS, CONTINUATION..: held until the block is whole, then softened ([`hpack`]) and passed
//!                        any other: passed as it comes
//! ```
//!
//! What is not HTTP/2, or has a header block of more than 64 KiB, is passed as it is from there on.

mod hpack;

use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tonic::transport::server::Connected;

/// What a client sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length (3), type, flags, stream (4).
const FRAME_HEADER: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// The most bytes of frames with one header block. hyper takes blocks of 16 KiB.
const MAX_HELD: usize = 64 << 10;
/// How much is read from the socket at a time.
const CHUNK: usize = 8 << 10;

/// The head of a frame.
struct Frame {
    length: usize,
    kind: u8,
    flags: u8,
}

impl Frame {
    /// The frame that begins at `at`; `None` where its head is not all there.
    fn at(bytes: &[u8], at: usize) -> Option<Self> {
        let head = bytes.get(at..)?.first_chunk::<FRAME_HEADER>()?;
        let [high, middle, low, kind, flags, ..] = *head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        Some(Self {
            length: usize::try_from(length).unwrap_or(usize::MAX),
            kind,
            flags,
        })
    }

    /// Where the frame's part of the header block is, in its payload; `None` where the padding leaves no room.
    fn fragment(&self, payload: &[u8]) -> Option<Range<usize>> {
        let (mut start, mut end) = (0, self.length);
        if self.kind == HEADERS {
            if self.flags & PADDED != 0 {
                start += 1;
                end = end.checked_sub(usize::from(*payload.first()?))?;
            }
            if self.flags & PRIORITY != 0 {
                start += 5;
            }
        }
        (start <= end).then_some(start..end)
    }
}

/// What is expected next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Preface,
    Frame,
    /// So many bytes of a frame that is passed as it is.
    Payload(usize),
    /// Anything, for ever.
    Anything,
}

/// Where the header block at the beginning of some bytes is.
enum Block {
    /// Its last frame ends here, and its parts are there.
    Whole(usize, Vec<Range<usize>>),
    Incomplete,
    /// No block that h2 would take.
    Malformed,
}

/// Takes bytes as a client sends them, in any pieces, and gives them with other authorities.
#[derive(Debug)]
struct Softener {
    next: Next,
    /// What is not passed yet: the beginning of the preface, of a frame's head, or of a header block.
    held: Vec<u8>,
}

impl Softener {
    const fn new() -> Self {
        Self {
            next: Next::Preface,
            held: Vec::new(),
        }
    }

    /// Takes `input` and appends to `out` what can be passed.
    fn take(&mut self, input: &[u8], out: &mut Vec<u8>) {
        self.held.extend_from_slice(input);
        while !self.held.is_empty() {
            let count = match self.next {
                Next::Anything => self.held.len(),
                Next::Payload(left) => {
                    let count = left.min(self.held.len());
                    self.next = match left - count {
                        0 => Next::Frame,
                        left => Next::Payload(left),
                    };
                    count
                }
                Next::Preface => {
                    let count = PREFACE.len().min(self.held.len());
                    let is_so_far = self.held.get(..count) == PREFACE.get(..count);
                    if is_so_far && count < PREFACE.len() {
                        return;
                    }
                    self.next = match is_so_far {
                        true => Next::Frame,
                        false => Next::Anything,
                    };
                    count
                }
                Next::Frame => match self.frame() {
                    Some(count) => count,
                    None => return,
                },
            };
            out.extend(self.held.drain(..count));
        }
        if self.held.capacity() > CHUNK {
            self.held = Vec::new();
        }
    }

    /// Decides on the frame at the beginning of what is held: how much of it is passed now. `None` where more must come.
    fn frame(&mut self) -> Option<usize> {
        let frame = Frame::at(&self.held, 0)?;
        if frame.kind != HEADERS {
            if frame.length > 0 {
                self.next = Next::Payload(frame.length);
            }
            return Some(FRAME_HEADER);
        }
        match block(&self.held) {
            Block::Whole(end, parts) => {
                let part = |range: &Range<usize>| self.held.get(range.clone());
                let mut whole: Vec<u8> = parts.iter().filter_map(part).flatten().copied().collect();
                hpack::soften(&mut whole);
                let mut softened = whole.into_iter();
                for range in parts {
                    let bytes = self.held.get_mut(range).into_iter().flatten();
                    for (byte, new) in bytes.zip(&mut softened) {
                        *byte = new;
                    }
                }
                Some(end)
            }
            Block::Incomplete if self.held.len() <= MAX_HELD => None,
            Block::Incomplete | Block::Malformed => {
                self.next = Next::Anything;
                Some(self.held.len())
            }
        }
    }

    /// The client sends no more: what is held is passed.
    fn end(&mut self, out: &mut Vec<u8>) {
        self.next = Next::Anything;
        out.append(&mut self.held);
    }
}

/// The header block that `bytes`, a HEADERS frame, begin with.
fn block(bytes: &[u8]) -> Block {
    let (mut at, mut parts) = (0, Vec::new());
    loop {
        let Some(frame) = Frame::at(bytes, at) else {
            return Block::Incomplete;
        };
        let expected = if at == 0 { HEADERS } else { CONTINUATION };
        if frame.kind != expected || frame.length > MAX_HELD {
            return Block::Malformed;
        }
        let start = at + FRAME_HEADER;
        let end = start + frame.length;
        let Some(payload) = bytes.get(start..end) else {
            return Block::Incomplete;
        };
        let Some(part) = frame.fragment(payload) else {
            return Block::Malformed;
        };
        parts.push(start + part.start..start + part.end);
        if frame.flags & END_HEADERS != 0 {
            return Block::Whole(end, parts);
        }
        at = end;
    }
}

/// A client's connection.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    softener: Softener,
    /// What can be read.
    ready: Vec<u8>,
}

impl From<UnixStream> for Connection {
    fn from(stream: UnixStream) -> Self {
        Self {
            stream,
            softener: Softener::new(),
            ready: Vec::new(),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = <UnixStream as Connected>::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.ready.is_empty() {
            let mut chunk = [0; CHUNK];
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                this.softener.end(&mut this.ready);
                break;
            }
            this.softener.take(read.filled(), &mut this.ready);
        }
        let count = this.ready.len().min(buffer.remaining());
        buffer.put_slice(this.ready.get(..count).unwrap_or_default());
        this.ready.drain(..count);
        if this.ready.is_empty() && this.ready.capacity() > CHUNK {
            this.ready = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        [&head[..], payload].concat()
    }

    /// A field as gRPC's C core sends it.
    fn authority(value: &str) -> Vec<u8> {
        let length = u8::try_from(value.len()).unwrap();
        [&b"\x40\x0a:authority"[..], &[length], value.as_bytes()].concat()
    }

    /// Everything that a client may send, with this authority in each header block.
    fn conversation(value: &str) -> Vec<u8> {
        let field = authority(value);
        let (start, rest) = field.split_at(17);
        let padded = [&[3][..], &[0; 5], &field, &[b'/'; 3]].concat();
        [
            PREFACE.to_vec(),
            frame(4, 0, &[]),
            frame(HEADERS, END_HEADERS, &field),
            // Data that looks like a frame with a header block.
            frame(0, 1, &frame(HEADERS, END_HEADERS, &authority("/a"))),
            frame(HEADERS, 0, start),
            frame(CONTINUATION, 0, &[]),
            frame(CONTINUATION, END_HEADERS, rest),
            frame(HEADERS, END_HEADERS | PADDED | PRIORITY, &padded),
            frame(6, 0, b"/%/%/%/%"),
        ]
        .concat()
    }

    fn passed(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
        let (mut softener, mut out) = (Softener::new(), Vec::new());
        for piece in pieces {
            softener.take(&piece, &mut out);
        }
        softener.end(&mut out);
        out
    }

    #[test]
    fn authorities_are_softened_in_whatever_pieces_they_come() {
        let (sent, expected) = (conversation("run%2Fa/b"), conversation("run-2Fa-b"));
        for size in 1..sent.len() {
            let pieces = sent.chunks(size).map(<[u8]>::to_vec);
            assert!(passed(pieces) == expected, "pieces of {size}");
        }
        for at in 0..sent.len() {
            let (one, two) = sent.split_at(at);
            let pieces = [one.to_vec(), two.to_vec()].into_iter();
            assert!(passed(pieces) == expected, "cut at {at}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_keep_their_number_and_the_pieces_do_not_matter(
            bytes: Vec<u8>,
            begins_as_http_2: bool,
            is_block: bool,
            size in 1..50_usize,
        ) {
            let bytes = match is_block {
                true => frame(HEADERS, END_HEADERS, &bytes),
                false => bytes,
            };
            let sent = match begins_as_http_2 {
                true => [PREFACE, &bytes].concat(),
                false => bytes,
            };
            let whole = passed(std::iter::once(sent.clone()));
            proptest::prop_assert_eq!(whole.len(), sent.len());
            proptest::prop_assert_eq!(passed(sent.chunks(size).map(<[u8]>::to_vec)), whole);
        }
    }

    #[test]
    fn what_is_not_http_2_or_malformed_is_passed_as_it_is() {
        let long = [PREFACE, &frame(HEADERS, 0, &[0; MAX_HELD]), b"/rest"].concat();
        let field = authority("/a");
        for bytes in [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            b"PRI * HTTP/2.1 and so on".to_vec(),
            // The padding is longer than the frame.
            [PREFACE, &frame(HEADERS, END_HEADERS | PADDED, &[9]), &field].concat(),
            // No CONTINUATION follows.
            [PREFACE, &frame(HEADERS, 0, &field), &frame(0, 0, b"x")].concat(),
            [PREFACE, &frame(HEADERS, END_HEADERS, &field)[..20]].concat(),
            long,
        ] {
            for size in [1, 7, bytes.len()] {
                let pieces = bytes.chunks(size).map(<[u8]>::to_vec);
                assert!(passed(pieces) == bytes, "{size}");
            }
        }
    }

    #[test]
    fn what_is_passed_is_an_authority_to_the_http_crate() {
        use tonic::codegen::http::uri::Authority;
        for value in ["/run/outlive/outlive.sock", "run%2Foutlive%2Foutlive.sock"] {
            assert!(value.parse::<Authority>().is_err());
            let mut field = authority(value);
            hpack::soften(&mut field);
            let softened = std::str::from_utf8(&field[13..]).unwrap();
            assert_eq!(softened.parse::<Authority>().unwrap().as_str(), softened);
        }
    }
}
