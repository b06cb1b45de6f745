//! The header of a qcow2 image: what calf reads, and what it refuses by name.
//!
//! Pure: bytes in, a header or a refusal out.

use crate::error::{Error, ErrorKind, Result};
use crate::model::limits::{MAX_SIZE, SECTOR};
use crate::model::units::format_size;
use crate::template::import::format::HEAD;
use crate::template::import::qcow2::fields::{Fields, V2, V3};

const MAGIC: &[u8] = b"QFI\xFB";
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// Smallest cluster that may have parts with an allocation of their own.
const EXTENDED_BITS: u32 = 14;
/// Most entries of an L1 table, which is QEMU's limit too: 32 MiB of them.
const MOST_L1: u64 = 4 << 20;
/// Longest name of another file that is shown.
const LONGEST_NAME: usize = 200;

/// Features without which an image cannot be read.
mod feature {
    pub(super) const DIRTY: u64 = 1;
    pub(super) const CORRUPT: u64 = 1 << 1;
    pub(super) const DATA_FILE: u64 = 1 << 2;
    pub(super) const COMPRESSION: u64 = 1 << 3;
    pub(super) const EXTENDED: u64 = 1 << 4;
    pub(super) const KNOWN: u64 = DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED;
}

const CONVERT: &str = "convert it where it can be read, with `qemu-img convert -O raw FILE image.raw`, and \
                       import the result";
const MERGE: &str = "merge both where the other file is, with `qemu-img convert -O qcow2 FILE merged.qcow2`, \
                     and import the result";
const REPAIR: &str = "make or fetch it again; or let `qemu-img check -r all COPY` repair a copy, and look at \
                      what is in it";
const CLOSE: &str =
    "shut the virtual machine down; if the mark stays, `qemu-img check -r all FILE` removes it";
const DECRYPT: &str = "decrypt it where its key is: `qemu-img convert -O raw --object \
                       secret,id=key,file=KEYFILE --image-opts \
                       driver=qcow2,encrypt.key-secret=key,file.filename=FILE image.raw`";
const RESIZE: &str = "give it another size with `qemu-img resize FILE SIZE`";
const AGAIN: &str = "fetch or copy the file again, and compare its SHA-256";

/// How clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Deflate,
    Zstd,
}

/// Of an image that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(super) version: u32,
    pub(super) cluster_bits: u32,
    /// Size of the disk, in bytes.
    pub(super) size: u64,
    pub(super) compression: Compression,
    /// Whether parts of clusters have an allocation of their own.
    pub(super) extended: bool,
    /// Snapshots in the image, whose state is not the one that is read.
    pub(super) snapshots: u32,
    l1: u64,
}

/// The header of an image that begins so, if it is one. `shown` is the image, for people.
pub(crate) fn header(head: &[u8], shown: &str) -> Result<Option<Header>> {
    is_head(head).then(|| Header::parse(head, shown)).transpose()
}

fn is_head(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

impl Header {
    /// Reads the first bytes of an image. `shown` is the image, for people.
    pub(super) fn parse(head: &[u8], shown: &str) -> Result<Self> {
        let raw = Fields(head);
        if let Some((why, remedy)) = malformed(&raw).or_else(|| unreadable(&raw)) {
            let error = Error::new(ErrorKind::InvalidArgument, "import", shown, why);
            return Err(error.remedy(remedy));
        }
        let features = raw.features();
        let header = Self {
            version: raw.version(),
            cluster_bits: raw.cluster_bits(),
            size: raw.u64(24),
            compression: match features & feature::COMPRESSION {
                0 => Compression::Deflate,
                _ => Compression::Zstd,
            },
            extended: features & feature::EXTENDED != 0,
            snapshots: raw.u32(60),
            l1: raw.u64(40),
        };
        header.check(u64::from(raw.u32(36)), shown)?;
        Ok(header)
    }

    /// Refuses sizes and places that no image has. `entries` is the length of the L1 table.
    fn check(&self, entries: u64, shown: &str) -> Result<()> {
        let refused = |kind, why: String, remedy: &'static str| {
            Err(Error::new(kind, "import", shown, why).remedy(remedy))
        };
        if self.size > MAX_SIZE {
            let [size, most] = [self.size, MAX_SIZE].map(format_size);
            let why = format!("its disk has {size}, and the largest volume has {most}");
            return refused(ErrorKind::OutOfRange, why, "give a smaller image");
        }
        if self.size == 0 || !self.size.is_multiple_of(SECTOR) {
            let why = format!("its disk has {} bytes, which are no whole sectors", self.size);
            return refused(ErrorKind::InvalidArgument, why, RESIZE);
        }
        let needed = self.size.div_ceil(1 << self.table_bits());
        let why = if self.extended && self.cluster_bits < EXTENDED_BITS {
            "its clusters are too small to have parts"
        } else if needed > MOST_L1 {
            "its L1 table would be larger than QEMU allows"
        } else if entries < needed {
            "its L1 table is too short for its disk"
        } else if self.l1 == 0 || self.l1 >= 1 << 56 || self.l1 & (self.cluster_size() - 1) != 0 {
            "its L1 table does not begin with a cluster"
        } else {
            return Ok(());
        };
        refused(ErrorKind::InvalidArgument, format!("its qcow2 header is damaged: {why}"), AGAIN)
    }

    /// Size of the disk, in bytes.
    pub(crate) fn disk_size(&self) -> u64 {
        self.size
    }

    pub(super) fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Bytes of an entry of an L2 table, as a power of two.
    fn entry_bits(&self) -> u32 {
        if self.extended { 4 } else { 3 }
    }

    /// Bytes of the disk that one L2 table maps, as a power of two.
    pub(super) fn table_bits(&self) -> u32 {
        2 * self.cluster_bits - self.entry_bits()
    }

    /// Where in the image the entry of the L1 table is that maps this byte of the disk.
    pub(super) fn l1_at(&self, at: u64) -> u64 {
        self.l1 + (at >> self.table_bits()) * 8
    }

    /// Where in its L2 table the entry is that maps this byte of the disk.
    pub(super) fn l2_at(&self, at: u64) -> u64 {
        let index = at >> self.cluster_bits & ((1 << (self.cluster_bits - self.entry_bits())) - 1);
        index << self.entry_bits()
    }
}

/// Why the first bytes are no header, and what to do.
fn malformed(raw: &Fields<'_>) -> Option<(String, &'static str)> {
    let (bits, length) = (raw.cluster_bits(), raw.header_length());
    match raw.version() {
        _ if !is_head(raw.0) || raw.0.len() < V2 => {}
        1 => {
            return Some(("it is a qcow image of version 1, and calf reads qcow2".into(), CONVERT));
        }
        3 if raw.0.len() < V3 => {}
        2 | 3 if !CLUSTER_BITS.contains(&bits) => {
            let why = format!("its qcow2 header is damaged: it has clusters of 2^{bits} bytes");
            return Some((why, AGAIN));
        }
        2 | 3 if length < raw.least_length() || length > 1 << bits => {
            let why = format!("its qcow2 header is damaged: it claims to have {length} bytes");
            return Some((why, AGAIN));
        }
        2 | 3 if raw.0.len() < length.min(HEAD) => {}
        2 | 3 => return None,
        version => {
            let why = format!("it is a qcow2 image of version {version}, and calf reads 2 and 3");
            return Some((why, CONVERT));
        }
    }
    Some(("its qcow2 header is not complete: the file was cut short".into(), AGAIN))
}

/// Why calf does not read an image with this header, and what to do.
fn unreadable(raw: &Fields<'_>) -> Option<(String, &'static str)> {
    let (features, length) = (raw.features(), raw.header_length());
    let has = |bit| features & bit != 0;
    if has(feature::CORRUPT) {
        let why = "its qcow2 image is marked as corrupt by the program that wrote it";
        return Some((why.into(), REPAIR));
    }
    if has(feature::DIRTY) {
        let why = "its qcow2 image is marked as in use: a virtual machine runs on it, or was not shut down";
        return Some((why.into(), CLOSE));
    }
    if let method @ 1.. = raw.u32(32) {
        let cipher = match method {
            1 => "with AES",
            2 => "with LUKS",
            _ => "in an unknown way",
        };
        return Some((format!("its qcow2 image is encrypted {cipher}"), DECRYPT));
    }
    if has(feature::DATA_FILE) {
        let name = raw.extension(length, *b"DATA").map(name).unwrap_or_default();
        let why = format!(
            "the data of its qcow2 image is in another file{name}, and calf reads no file that an \
             image names"
        );
        return Some((why, MERGE));
    }
    if let at @ 1.. = raw.u64(8) {
        let name = raw.bytes(at, u64::from(raw.u32(16))).map(name).unwrap_or_default();
        let why = format!(
            "its qcow2 image is only the difference to another file, its backing file{name}, and \
             calf reads no file that an image names"
        );
        return Some((why, MERGE));
    }
    if let bit @ 0..64 = (features & !feature::KNOWN).trailing_zeros() {
        let why = format!("its qcow2 image has a feature that calf does not know (bit {bit})");
        return Some((why, CONVERT));
    }
    // The field is missing in older headers, which compress in the first way.
    let kind = if length > V3 { raw.array::<1>(V3)[0] } else { 0 };
    (kind != u8::from(has(feature::COMPRESSION))).then(|| {
        let why = format!(
            "the clusters of its qcow2 image are compressed in a way that calf does not know (type \
             {kind})"
        );
        (why, CONVERT)
    })
}

/// The name of another file, to be put behind its mention.
fn name(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST_NAME)]);
    format!(" {text:?}")
}

#[cfg(test)]
pub(super) mod tests;
