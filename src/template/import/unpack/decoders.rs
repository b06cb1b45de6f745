//! Decoders of compressed files: any number of members, frames or streams, one after the other.
//!
//! Each reads to the end of the file, and takes what is neither a member nor the end for an error. A
//! decoder that stops after the first member would make half an image without an error.

use std::io::{self, BufRead, BufReader, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

use crate::error::{Error, ErrorKind};
use crate::template::import::format::Packing;

const OPERATION: &str = "import";
/// Bytes of the compressed file that are read at once.
const BUFFER: usize = 256 << 10;
/// Largest window of a zstd frame, as a power of two: 128 MiB, the limit of the `zstd` program without
/// `--long` or `--memory`.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Most memory for an xz block, in KiB: a dictionary of 128 MiB and the decoder's tables. `xz -9` takes
/// half of that.
const XZ_MEMORY: u32 = 130 << 10;

/// What a compressed file holds.
pub(crate) fn decoder<'a>(
    packing: Packing,
    packed: impl Read + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let packed = BufReader::with_capacity(BUFFER, packed);
    Ok(match packing {
        Packing::Gzip => Box::new(MultiGzDecoder::new(packed)),
        Packing::Bzip2 => Box::new(MultiBzDecoder::new(packed)),
        Packing::Xz => Box::new(XzReader::new_mem_limit(packed, true, XZ_MEMORY)),
        Packing::Zstd => Box::new(zstd_decoder(packed)?),
    })
}

fn zstd_decoder<'a, R: BufRead + Send + 'a>(packed: R) -> io::Result<impl Read + Send + 'a> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
    Ok(decoder)
}

/// Says what is wrong with a file that a decoder does not accept, of which `read` bytes were read.
pub(crate) fn explain(packing: Packing, error: &io::Error, read: u64, subject: &str) -> Error {
    let name = packing.name();
    let refused = |why: String| Error::new(ErrorKind::InvalidArgument, OPERATION, subject, why);
    let text = error.to_string();
    let says = |words: &str| text.contains(words);
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return refused(format!(
            "its {name} stream has no end: the file was cut short after {read} bytes"
        ))
        .remedy("fetch or copy the file again, and compare its SHA-256");
    }
    if error.kind() == io::ErrorKind::OutOfMemory || says("too much memory") {
        return refused(format!("its {name} stream needs a window of more than 128 MiB of memory"))
            .remedy("compress it again with a smaller one (`zstd --long=27`, `xz -9`), or unpack it first");
    }
    // Found only where a member may begin.
    let trailing = [
        "invalid gzip header",
        "Unknown frame descriptor",
        "invalid data after stream",
        "bz2 header missing",
    ];
    if trailing.iter().any(|words| says(words)) {
        return refused(format!(
            "after the end of its {name} stream come bytes that are not one (within the first {read} bytes of the file)"
        ))
        .remedy("fetch the file again, and compare its SHA-256; or cut off what does not belong to it");
    }
    refused(format!("its {name} stream is damaged within the first {read} bytes: {text}"))
        .remedy("fetch or copy the file again, and compare its SHA-256")
}
