//! Serves clients that name the socket's path for a server's host, as kubelet does when it registers a
//! driver.
//!
//! The `h2` crate refuses a request whose `:authority` is no host. Over a unix socket the field means
//! nothing, so its value is replaced by `localhost` before `h2` reads it. Header blocks are compressed with
//! a state that both sides keep; a value that is exchanged for another leaves that state in step, and values
//! are skipped by their length, without being decoded. What does not look as expected passes as it is,
//! for `h2` to judge.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// The value, as a string without Huffman coding: its length and its bytes.
const LOCALHOST: &[u8] = b"\x09localhost";
const NAME: &[u8] = b":authority";
/// Its index in HPACK's static table (RFC 7541, appendix A).
const INDEX: u64 = 1;

/// What a client of HTTP/2 sends before its first frame.
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
/// Length, type, flags and stream of a frame.
const HEAD: usize = 9;
/// The type of frames with headers.
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// Largest frame that a client may send unless the server allows more, which tonic does not.
const LARGEST: usize = 1 << 14;

/// A connection of a client, with the authority `localhost` in all requests.
pub(super) struct Localhost<S> {
    inner: S,
    frames: Frames,
    /// What was received, with the authority replaced, and not read yet.
    ready: Vec<u8>,
    read: usize,
}

impl<S> Localhost<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, frames: Frames::default(), ready: Vec::new(), read: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Localhost<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.read == self.ready.len() {
            self.ready.clear();
            self.read = 0;
            let mut bytes = [0; 4096];
            let mut received = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.inner).poll_read(context, &mut received))?;
            if received.filled().is_empty() {
                // A frame that was cut short is as good as none.
                return Poll::Ready(Ok(()));
            }
            let Self { frames, ready, .. } = &mut *self;
            frames.take(received.filled(), ready);
        }
        let rest = &self.ready[self.read..];
        let count = rest.len().min(into.remaining());
        into.put_slice(&rest[..count]);
        self.read += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Localhost<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<S: Connected> Connected for Localhost<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.connect_info()
    }
}

/// The frames of a connection, as they arrive in pieces.
#[derive(Debug)]
struct Frames {
    /// Bytes that pass as they are, before the next frame begins.
    passing: usize,
    /// The beginning of a frame.
    begun: Vec<u8>,
}

impl Default for Frames {
    fn default() -> Self {
        Self { passing: PREFACE, begun: Vec::new() }
    }
}

impl Frames {
    /// Takes bytes of the client, and adds what `h2` shall read to `out`.
    fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            if self.passing > 0 {
                let (pass, rest) = bytes.split_at(self.passing.min(bytes.len()));
                out.extend_from_slice(pass);
                self.passing -= pass.len();
                bytes = rest;
                continue;
            }
            let wanted = self.length().map_or(HEAD, |length| HEAD + length);
            let (more, rest) = bytes.split_at((wanted - self.begun.len()).min(bytes.len()));
            self.begun.extend_from_slice(more);
            bytes = rest;
            match self.length() {
                Some(length) if !self.is_rewritten(length) => {
                    out.append(&mut self.begun);
                    self.passing = length;
                }
                Some(length) if self.begun.len() == HEAD + length => {
                    let frame = std::mem::take(&mut self.begun);
                    match rewritten(&frame) {
                        Some(frame) => out.extend(frame),
                        None => out.extend(frame),
                    }
                }
                _ => {}
            }
        }
    }

    /// The length of the payload of the frame that has begun, if that much of it is here.
    fn length(&self) -> Option<usize> {
        let [a, b, c, ..] = *self.begun.get(..HEAD)? else { return None };
        Some(usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c))
    }

    /// Whether the frame that has begun has a whole block of headers.
    fn is_rewritten(&self, length: usize) -> bool {
        self.begun[3] == HEADERS && self.begun[4] & END_HEADERS != 0 && length <= LARGEST
    }
}

/// A frame with a whole block of headers, with another authority; `None` if it is malformed.
fn rewritten(frame: &[u8]) -> Option<Vec<u8>> {
    let (head, payload) = frame.split_at_checked(HEAD)?;
    let flags = head[4];
    let mut start = 0;
    let mut padding = 0;
    if flags & PADDED != 0 {
        padding = usize::from(*payload.first()?);
        start += 1;
    }
    if flags & PRIORITY != 0 {
        start += 5;
    }
    let end = payload.len().checked_sub(padding)?;
    let mut changed = payload.get(..start)?.to_vec();
    changed.extend(with_localhost(payload.get(start..end)?)?);
    changed.extend(&payload[end..]);
    let length = u32::try_from(changed.len()).ok().filter(|length| *length < 1 << 24)?;
    Some([&length.to_be_bytes()[1..], &head[3..], &changed].concat())
}

/// A header block (RFC 7541, section 6) with another authority; `None` if it is malformed.
fn with_localhost(block: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(block.len());
    let mut rest = Block(block);
    while let Some(first) = rest.0.first() {
        let field = rest.0;
        let literal = match first {
            0x80.. => {
                rest.integer(7)?;
                None
            }
            0x20..0x40 => {
                rest.integer(5)?;
                None
            }
            0x40..0x80 => Some(rest.integer(6)?),
            _ => Some(rest.integer(4)?),
        };
        let Some(index) = literal else {
            out.extend(&field[..field.len() - rest.0.len()]);
            continue;
        };
        let is_authority = match index {
            0 => rest.string()? == (false, NAME),
            index => index == INDEX,
        };
        let before = field.len() - rest.0.len();
        rest.string()?;
        if is_authority {
            out.extend(&field[..before]);
            out.extend(LOCALHOST);
        } else {
            out.extend(&field[..field.len() - rest.0.len()]);
        }
    }
    Some(out)
}

/// What is left of a header block.
struct Block<'a>(&'a [u8]);

impl<'a> Block<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// An integer whose first byte has this many bits of it (RFC 7541, section 5.1).
    fn integer(&mut self, bits: u32) -> Option<u64> {
        let most = (1_u64 << bits) - 1;
        let mut value = u64::from(self.byte()?) & most;
        if value < most {
            return Some(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A string, and whether it is Huffman-coded (section 5.2).
    fn string(&mut self) -> Option<(bool, &'a [u8])> {
        let coded = self.0.first()? & 0x80 != 0;
        let length = usize::try_from(self.integer(7)?).ok()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some((coded, string))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A field whose name is in a table, and whose value is added to one.
    fn field(index: u8, value: &[u8]) -> Vec<u8> {
        let length = u8::try_from(value.len()).unwrap();
        [&[0x40 | index, length], value].concat()
    }

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// What is read of these bytes if they arrive in pieces of that size.
    fn taken(bytes: &[u8], piece: usize) -> Vec<u8> {
        let (mut frames, mut out) = (Frames::default(), Vec::new());
        for bytes in bytes.chunks(piece) {
            frames.take(bytes, &mut out);
        }
        out
    }

    #[test]
    fn only_the_authority_is_replaced() {
        let others = [
            vec![0x83, 0x86],
            field(4, b"/pluginregistration.Registration/GetInfo"),
            // A change of the table's size, a Huffman-coded value, a field that is never indexed.
            vec![0x3F, 0xE1, 0x1F],
            vec![0x5F, 0x82, 0x1D, 0x75],
            vec![0x10, 2, b't', b'e', 1, b'x'],
        ];
        let long = [&[0x41, 0x7F, 0x49][..], &[b'/'; 200]].concat();
        let by_name = [&[0, 10][..], b":authority", &[1, b'/']].concat();
        let authorities = [
            (field(1, b"/var/lib/kubelet/x.sock"), field(1, b"localhost")),
            (vec![0x41, 0x82, 0x1D, 0x75], field(1, b"localhost")),
            (vec![0x01, 1, b'/'], [&[0x01, 9][..], b"localhost"].concat()),
            (long, field(1, b"localhost")),
            (by_name, [&[0, 10][..], b":authority", &[9], b"localhost"].concat()),
        ];
        for (given, expected) in authorities {
            for place in 0..=others.len() {
                let block = |authority: &[u8]| {
                    let (before, after) = others.split_at(place);
                    [&before.concat(), authority, &after.concat()].concat()
                };
                assert_eq!(with_localhost(&block(&given)), Some(block(&expected)), "{given:?}");
            }
        }
    }

    #[test]
    fn frames_are_found_however_they_arrive() {
        let bad = field(1, b"/a/path");
        let good = field(1, b"localhost");
        let padded = |field: &[u8]| [&[3], &[0; 5][..], field, &[0; 3]].concat();
        let around = |field: &[u8]| {
            [
                vec![b'P'; PREFACE],
                frame(4, 0, &[]),
                frame(0, 0, field),
                frame(HEADERS, END_HEADERS, field),
                frame(0, 1, &[7; 5000]),
                frame(HEADERS, END_HEADERS | PADDED | PRIORITY, &padded(field)),
            ]
        };
        let mut expected = around(&good);
        // What is no frame of headers stays as it is.
        expected[2] = frame(0, 0, &bad);
        for piece in [1, 2, 9, 10, 100, 1 << 20] {
            assert_eq!(taken(&around(&bad).concat(), piece), expected.concat(), "{piece}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_of_what_is_malformed(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            piece in 1_usize..40,
        ) {
            let whole = [vec![0; PREFACE], frame(0, 0, &bytes), bytes.clone()].concat();
            let read = taken(&whole, piece);
            prop_assert!(read.starts_with(&whole[..PREFACE + HEAD + bytes.len()]));
            let _ = with_localhost(&bytes);
            let _ = rewritten(&frame(HEADERS, END_HEADERS | PADDED | PRIORITY, &bytes));
        }
    }
}
