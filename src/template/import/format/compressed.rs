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

pub(super) fn of_head(head: &[u8]) -> Option<Format> {
    signature::find(head, &SIGNATURES)
}
