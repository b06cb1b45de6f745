//! Keeping in the pool what can be read only once, or not at any offset.

use std::io::Read as _;

use crate::error::Result;
use crate::model::cancel::Cancel;
use crate::model::digest::Digest;
use crate::sys::ImageFile;
use crate::template::import::format::Packing;
use crate::template::import::incoming::Incoming;
use crate::template::import::staging::Staging;
use crate::template::import::stream::Stream;
use crate::template::import::unpack::decoder;
use crate::template::spec::Progress;

/// The first bytes of a file that begins so, unpacked if they are compressed.
pub(super) fn head(prefix: &[u8], length: usize) -> Vec<u8> {
    let mut head = Vec::new();
    match Packing::of_head(prefix) {
        None => head.extend(&prefix[..prefix.len().min(length)]),
        // What is damaged or incomplete is found when all of it is read.
        Some(packing) => {
            let _ = decoder(packing, prefix)
                .and_then(|content| content.take(length as u64).read_to_end(&mut head));
        }
    }
    head
}

/// A source of which all is in the pool.
pub(super) struct Kept {
    pub(super) file: Box<dyn ImageFile>,
    /// Bytes of the file.
    pub(super) size: u64,
    /// SHA-256 of the source, as it came.
    pub(super) source_digest: Digest,
}

/// Keeps all of a stream: what it holds if it is to be unpacked, or else as it is.
pub(super) fn keep(
    staging: &Staging<'_>,
    stream: Stream<'_>,
    packing: Option<Packing>,
    cancel: &Cancel,
    progress: &mut dyn FnMut(Progress),
) -> Result<Kept> {
    let incoming = Incoming::new(&stream.shown, stream.size, packing, stream.failed, cancel);
    let content = incoming.content(stream.bytes)?;
    let (file, whole) = incoming.copy(content, staging, &staging.source(), 0, progress)?;
    (stream.check)()?;
    Ok(Kept { file, size: whole.size, source_digest: incoming.digest() })
}
