//! A gRPC call in frames of HTTP/2, with an authority that no client in Rust would send.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(10);

// Types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;

// Flags of frames.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The code of a reset for a request that is malformed.
pub const PROTOCOL_ERROR: u32 = 1;

/// How a server ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered,
    /// With this code.
    Reset(u32),
}

/// Calls CSI's Probe on a socket with this `:authority`.
pub fn probe(socket: &Path, authority: &str) -> Outcome {
    call(socket, "/csi.v1.Identity/Probe", authority)
}

/// Calls a method that takes an empty message.
pub fn call(socket: &Path, method: &str, authority: &str) -> Outcome {
    let mut stream = UnixStream::connect(socket).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut request = PREFACE.to_vec();
    request.extend(frame(SETTINGS, 0, 0, &[]));
    request.extend(frame(HEADERS, END_HEADERS, 1, &headers(method, authority)));
    // An empty message: not compressed, no bytes.
    request.extend(frame(DATA, END_STREAM, 1, &[0; 5]));
    stream.write_all(&request).expect("send a request");
    loop {
        let (kind, payload) = receive(&mut stream);
        match kind {
            HEADERS => return Outcome::Answered,
            RST_STREAM => {
                let code = payload.try_into().expect("a code of four bytes");
                return Outcome::Reset(u32::from_be_bytes(code));
            }
            _ => {}
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    let head = [&length.to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// `POST`, `http`, and literals that neither side keeps in a table.
fn headers(method: &str, authority: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (name, value) in [
        (":path", method),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).ok().filter(|n| *n < 127).expect("a short text"));
            block.extend(text.as_bytes());
        }
    }
    block
}

fn receive(stream: &mut UnixStream) -> (u8, Vec<u8>) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).expect("a frame");
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length.try_into().expect("a length")];
    stream.read_exact(&mut payload).expect("a frame's payload");
    (head[3], payload)
}
