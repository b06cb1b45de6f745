//! Compressed files.

use crate::template::import::format::signature::{self, Format, Signature};

const fn packed(name: &'static str, remedy: &'static str) -> Format {
    Format { name, remedy }
}

const SIGNATURES: [Signature; 7] = [
    (0, b"\x1F\x8B\x08", packed("gzip-compressed", "unpack it with `gzip -dc FILE >image.raw`")),
    (
        0,
        b"\x28\xB5\x2F\xFD",
        packed("zstd-compressed", "unpack it with `zstd -dc FILE >image.raw`"),
    ),
    (0, b"\xFD7zXZ\0", packed("xz-compressed", "unpack it with `xz -dc FILE >image.raw`")),
    (0, b"BZh", packed("bzip2-compressed", "unpack it with `bzip2 -dc FILE >image.raw`")),
    (0, b"\x04\x22\x4D\x18", packed("lz4-compressed", "unpack it with `lz4 -dc FILE >image.raw`")),
    (0, b"LZIP", packed("lzip-compressed", "unpack it with `lzip -dc FILE >image.raw`")),
    (0, b"\x89LZO\0\r\n", packed("lzop-compressed", "unpack it with `lzop -dc FILE >image.raw`")),
];

/// A format of compressed files that calf unpacks. Without the feature `formats` there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    #[cfg(feature = "formats")]
    Gzip,
    #[cfg(feature = "formats")]
    Zstd,
    #[cfg(feature = "formats")]
    Xz,
    #[cfg(feature = "formats")]
    Bzip2,
}

impl Packing {
    /// The format of a file that begins so.
    #[cfg(not(feature = "formats"))]
    pub(crate) fn of_head(_: &[u8]) -> Option<Self> {
        None
    }

    /// The format of a file that begins so.
    #[cfg(feature = "formats")]
    pub(crate) fn of_head(head: &[u8]) -> Option<Self> {
        match head {
            [0x1F, 0x8B, 0x08, ..] => Some(Self::Gzip),
            // The second begins a frame to be skipped, as pzstd writes them.
            [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => Some(Self::Zstd),
            [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Self::Bzip2),
            _ => None,
        }
    }

    /// Its name.
    #[cfg(feature = "formats")]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        }
    }
}

pub(super) fn of_head(head: &[u8]) -> Option<Format> {
    signature::find(head, &SIGNATURES)
}
