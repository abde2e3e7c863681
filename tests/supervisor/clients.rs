//! Clients that send the socket's path as `:authority`: gRPC for Python, and bytes as Java and old versions of Go send
//! them.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use crate::support::poll;
use crate::support::supervisor::{Options, Supervisor};

/// Calls over one channel: the first brings the authority, the others refer to it.
const PYTHON: &str = r#"
import sys, grpc
channel = grpc.insecure_channel("unix://" + sys.argv[1])
def call(method, request=b""):
    raw = lambda message: message
    function = channel.unary_unary("/runtime.v1." + method, request_serializer=raw, response_deserializer=raw)
    return function(request, timeout=30)
for _ in range(3):
    assert b"outlive" in call("RuntimeService/Version")
assert call("RuntimeService/ListContainers") == b""
assert len(call("RuntimeService/Status")) > 10
call("ImageService/ListImages")
try:
    call("RuntimeService/ContainerStatus", b"\x0a\x04none")
    sys.exit("found a container that is not there")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.NOT_FOUND, error
# An id of more than one frame and one window.
try:
    call("RuntimeService/ContainerStatus", b"\x0a\x80\x80\x08" + b"x" * 131072)
    sys.exit("found a container with an id of 128 KiB")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.NOT_FOUND, error
print("done", grpc.__version__)
"#;

#[test]
fn grpc_for_python_makes_calls_over_the_socket() {
    let supervisor = Supervisor::start(Options::default());
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    assert!(python.exists(), "run tests/setup/python-grpcio.sh first");
    let output = Command::new("timeout")
        .args(["-s", "KILL", "60"])
        .arg(python)
        .args(["-c", PYTHON])
        .arg(supervisor.socket())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.starts_with("done"),
        "{output:?}\n{}",
        supervisor.log_tail()
    );
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [.., high, low] = payload.len().to_be_bytes();
    let head = [0, high, low, kind, flags, 0, 0, 0, stream];
    [&head[..], payload].concat()
}

fn literal(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text].concat()
}

/// Whether the call on `stream` is answered by a message; else its error code.
fn answer(connection: &mut UnixStream, stream: u8) -> Result<(), u8> {
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head).unwrap();
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        connection.read_exact(&mut payload).unwrap();
        match (head[3], head[8]) {
            (0, number) if number == stream => return Ok(()),
            (3, number) if number == stream => return Err(payload[3]),
            _ => {}
        }
    }
}

#[test]
fn a_path_as_the_authority_is_taken_in_every_encoding() {
    let supervisor = Supervisor::start(Options::default());
    let path = [&[0x44][..], &literal(b"/runtime.v1.RuntimeService/Version")].concat();
    let content_type = [&[0x5f][..], &literal(b"application/grpc")].concat();
    let te = [&[0x40][..], &literal(b"te"), &literal(b"trailers")].concat();
    let before = [&[0x83, 0x86][..], &path].concat();
    let after = [content_type, te].concat();
    // "/run/a.sock" by the Huffman code of RFC 7541.
    let coded = [0x88, 0x62, 0xcb, 0x6a, 0x60, 0x6b, 0xa0, 0xe4, 0xeb];
    for (name, authority) in [
        ("plain", literal(b"/run/a.sock")),
        ("percent-encoded", literal(b"run%2Fa.sock")),
        ("coded", coded.to_vec()),
    ] {
        let headers = [&before[..], &[0x41], &authority, &after].concat();
        // The last four fields by their places in the client's table: te is 62.
        let again = [0x83, 0x86, 0xc1, 0xc0, 0xbf, 0xbe];
        let message = [0; 5];
        let (one, two) = headers.split_at(before.len() + 6);
        let mut connection = UnixStream::connect(supervisor.socket()).unwrap();
        connection.set_read_timeout(Some(poll::DEADLINE)).unwrap();
        let sent = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, 0, 0, &[]),
            frame(1, 0, 1, one),
            frame(9, 4, 1, two),
            frame(0, 1, 1, &message),
            frame(1, 4, 3, &again),
            frame(0, 1, 3, &message),
        ];
        for piece in sent.concat().chunks(11) {
            connection.write_all(piece).unwrap();
        }
        for stream in [1, 3] {
            assert_eq!(answer(&mut connection, stream), Ok(()), "{name}, {stream}");
        }
    }
}
