//! How the content of a section is encoded: as it is, or as one zstd frame.

use crate::snapshot::stream::fault::Fault;
use crate::snapshot::stream::run::word;

const PLAIN: u32 = 0;
const ZSTD: u32 = 1;

/// Level of compression: fast, since the stream goes to a network or a disk.
#[cfg(feature = "formats")]
const LEVEL: i32 = 3;

/// The encoding, and the encoded content if that is shorter than the content itself.
pub(super) fn encode(content: &[u8], compress: bool) -> (u32, Option<Vec<u8>>) {
    match compress.then(|| packed(content)).flatten() {
        Some(packed) if packed.len() < content.len() => (ZSTD, Some(packed)),
        _ => (PLAIN, None),
    }
}

/// Decodes the content, of `length` bytes, of the section at offset `at` of a stream. It begins at `start`, and
/// its encoding at the start of the section.
pub(super) fn decode(
    at: u64,
    mut section: Vec<u8>,
    start: usize,
    length: usize,
) -> Result<Vec<u8>, Fault> {
    match word(&section) {
        PLAIN if section.len() - start == length => {
            section.drain(..start);
            Ok(section)
        }
        PLAIN => Err(Fault::damage(at, "its content is not as long as its runs")),
        ZSTD => unpacked(at, &section[start..], length),
        _ => Err(Fault::damage(at, "its encoding is unknown")),
    }
}

#[cfg(feature = "formats")]
fn packed(content: &[u8]) -> Option<Vec<u8>> {
    zstd::bulk::compress(content, LEVEL).ok()
}

#[cfg(not(feature = "formats"))]
fn packed(_: &[u8]) -> Option<Vec<u8>> {
    None
}

#[cfg(feature = "formats")]
fn unpacked(at: u64, packed: &[u8], length: usize) -> Result<Vec<u8>, Fault> {
    // Content that is longer fails too, since there is no room for it.
    match zstd::bulk::decompress(packed, length) {
        Ok(content) if content.len() == length => Ok(content),
        _ => Err(Fault::damage(at, "its content does not unpack to what its runs have")),
    }
}

#[cfg(not(feature = "formats"))]
fn unpacked(_: u64, _: &[u8], _: usize) -> Result<Vec<u8>, Fault> {
    Err(Fault::Compressed)
}
