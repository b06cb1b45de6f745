//! Compressed clusters.

use std::io::{self, Read as _};

use flate2::{Decompress, FlushDecompress, Status};

use crate::sys::SparseRead;
use crate::template::import::qcow2::fault::Fault;
use crate::template::import::qcow2::header::{Compression, Header};

/// Largest window of a zstd frame, as a power of two: four times the largest cluster.
const ZSTD_WINDOW_LOG: u32 = 23;

/// The cluster that was unpacked last: whoever reads a disk from its start reads each in several parts.
#[derive(Default)]
pub(super) struct Unpacked {
    /// Where in the image it is, compressed.
    at: Option<(u64, u64)>,
    packed: Vec<u8>,
    cluster: Vec<u8>,
}

/// Why there is no cluster.
pub(super) enum Failed {
    Reading(io::Error),
    Unpacking(String),
}

impl Failed {
    /// The error, with the place in the disk where the cluster should be.
    pub(super) fn at(self, at: u64) -> io::Error {
        match self {
            Self::Reading(error) => error,
            Self::Unpacking(why) => Fault::Damaged { at, why }.into(),
        }
    }
}

impl Unpacked {
    /// The cluster whose compressed form is in the `length` bytes from `at` on, with others behind it.
    pub(super) fn cluster(
        &mut self,
        image: &dyn SparseRead,
        header: &Header,
        at: u64,
        length: u64,
    ) -> Result<&[u8], Failed> {
        if self.at == Some((at, length)) {
            return Ok(&self.cluster);
        }
        self.at = None;
        self.packed.resize(length as usize, 0);
        let read = image.fill_from(&mut self.packed, at).map_err(Failed::Reading)?;
        if read == 0 {
            return Err(Failed::Reading(Fault::cut("compressed data of its disk", at)));
        }
        self.cluster.resize(header.cluster_size() as usize, 0);
        let packed = &self.packed[..read];
        match header.compression {
            Compression::Deflate => inflate(packed, &mut self.cluster),
            Compression::Zstd => unzstd(packed, &mut self.cluster),
        }
        .map_err(|why| match read < length as usize {
            true => Failed::Reading(Fault::cut("compressed data of its disk", at + read as u64)),
            false => Failed::Unpacking(format!("a compressed cluster cannot be unpacked: {why}")),
        })?;
        self.at = Some((at, length));
        Ok(&self.cluster)
    }
}

/// Fills the cluster from a deflate stream without a header, and ignores what comes after it.
fn inflate(packed: &[u8], cluster: &mut [u8]) -> Result<(), String> {
    let mut decoder = Decompress::new(false);
    let status = decoder
        .decompress(packed, cluster, FlushDecompress::Finish)
        .map_err(|error| error.to_string())?;
    match (decoder.total_out() == cluster.len() as u64, status) {
        (true, _) => Ok(()),
        (false, Status::StreamEnd) => Err("it holds less than a cluster".into()),
        (false, _) => Err("its stream has no end".into()),
    }
}

/// Fills the cluster from a zstd frame, and ignores what comes after it.
fn unzstd(packed: &[u8], cluster: &mut [u8]) -> Result<(), String> {
    let mut unpack = || {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?.single_frame();
        decoder.window_log_max(ZSTD_WINDOW_LOG)?;
        decoder.read_exact(cluster)
    };
    unpack().map_err(|error: io::Error| error.to_string())
}
