//! The header of a COW store.

use std::io;

/// The state of a COW store, from its first bytes in dm-snapshot's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreHeader {
    /// Blank: no device has been made over the store yet.
    New,
    /// A valid store.
    Valid {
        /// Chunk size, in bytes.
        chunk_size: u64,
    },
    /// The kernel marked the store invalid after an error.
    Invalid,
    /// Not a COW store.
    Foreign,
}

const MAGIC: u32 = u32::from_le_bytes(*b"SnAp");
const VERSION: u32 = 1;

impl StoreHeader {
    /// Length of a header, in bytes.
    pub const LENGTH: usize = 16;

    /// Where the word is that says whether the store is valid, in bytes from its start.
    pub(crate) const VALID_OFFSET: u64 = 4;

    /// That word in a valid store.
    pub(crate) const VALID: [u8; 4] = 1u32.to_le_bytes();

    /// The header of a valid store with chunks of `chunk_size` bytes.
    pub(crate) fn valid(chunk_size: u64) -> [u8; Self::LENGTH] {
        let sectors = u32::try_from(chunk_size / 512).unwrap_or(u32::MAX).to_le_bytes();
        let mut header = [0; Self::LENGTH];
        let words = [MAGIC.to_le_bytes(), Self::VALID, VERSION.to_le_bytes(), sectors];
        header.copy_from_slice(words.as_flattened());
        header
    }

    /// Reads the header from the first bytes of a store. Shorter input is not a store.
    pub(crate) fn read(mut store: impl io::Read) -> io::Result<Self> {
        let mut header = [0; Self::LENGTH];
        match store.read_exact(&mut header) {
            Ok(()) => Ok(Self::parse(header)),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(Self::Foreign),
            Err(e) => Err(e),
        }
    }

    /// Reads a header: four little-endian words, namely magic, valid, version and chunk size in
    /// sectors (`struct disk_header` of Linux, `drivers/md/dm-snap-persistent.c`).
    pub fn parse(header: [u8; Self::LENGTH]) -> Self {
        let word = |n: usize| {
            let [a, b, c, d] = [0, 1, 2, 3].map(|byte| header[4 * n + byte]);
            u32::from_le_bytes([a, b, c, d])
        };
        match (word(0), word(1), word(2)) {
            (0, ..) => Self::New,
            (MAGIC, 0, VERSION) => Self::Invalid,
            (MAGIC, _, VERSION) => Self::Valid { chunk_size: u64::from(word(3)) * 512 },
            _ => Self::Foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_tells_whose_it_is() {
        let header = |words: [u32; 4]| {
            let mut bytes = [0; StoreHeader::LENGTH];
            for (n, word) in words.into_iter().enumerate() {
                bytes[4 * n..4 * n + 4].copy_from_slice(&word.to_le_bytes());
            }
            StoreHeader::parse(bytes)
        };
        let magic = u32::from_le_bytes(*b"SnAp");
        assert_eq!(header([0; 4]), StoreHeader::New);
        assert_eq!(header([magic, 1, 1, 8]), StoreHeader::Valid { chunk_size: 4096 });
        for chunk_size in [4096, 1 << 20] {
            let written = StoreHeader::parse(StoreHeader::valid(chunk_size));
            assert_eq!(written, StoreHeader::Valid { chunk_size });
        }
        assert_eq!(header([magic, 0, 1, 8]), StoreHeader::Invalid);
        assert_eq!(header([magic, 1, 2, 8]), StoreHeader::Foreign);
        assert_eq!(header([0x464c_457f, 1, 1, 8]), StoreHeader::Foreign);
    }
}
