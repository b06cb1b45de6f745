//! The header of a COW store.

use std::io;

/// What the first bytes of a COW store say, as dm-snapshot keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreHeader {
    /// Nothing: no device has been made over it yet.
    New,
    /// A store in order.
    Valid {
        /// Chunk size, in bytes.
        chunk_size: u64,
    },
    /// The kernel gave the store up after an error.
    Invalid,
    /// It is no COW store.
    Foreign,
}

impl StoreHeader {
    /// Bytes of a header.
    pub const LENGTH: usize = 16;

    /// Reads the header of a store from its first byte on. What is shorter is no store.
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
        const MAGIC: u32 = u32::from_le_bytes(*b"SnAp");
        const VERSION: u32 = 1;
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
        assert_eq!(header([magic, 0, 1, 8]), StoreHeader::Invalid);
        assert_eq!(header([magic, 1, 2, 8]), StoreHeader::Foreign);
        assert_eq!(header([0x464c_457f, 1, 1, 8]), StoreHeader::Foreign);
    }
}
