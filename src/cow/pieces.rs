//! Which parts of a COW store belong where in its volume.

use std::io;

use crate::cow::exceptions::{Flaw, Shape, walk};

/// A part of one file that has a place in another. In bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it is.
    pub from: u64,
    /// Where it belongs.
    pub to: u64,
    /// How long it is.
    pub length: u64,
}

impl Piece {
    /// Whether `next` goes on where this one ends, in both files.
    fn is_before(&self, next: &Self) -> bool {
        self.from + self.length == next.from && self.to + self.length == next.to
    }
}

/// The parts of a store that a volume has instead of its template's content, in the order of their places. `read` fills a
/// buffer from an offset of the store on. The last may end behind the volume, which need not end with a chunk.
pub(crate) fn pieces(
    shape: Shape,
    read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<Result<Vec<Piece>, Flaw>> {
    let length = shape.chunk;
    let mut pieces: Vec<Piece> = Vec::new();
    let checked = walk(shape, read, &mut |old, new| {
        let piece = Piece { from: new * length, to: old * length, length };
        match pieces.last_mut() {
            Some(last) if last.is_before(&piece) => last.length += length,
            _ => pieces.push(piece),
        }
    })?;
    // The order of the mapping that a file system changes when it puts them there.
    pieces.sort_unstable_by_key(|piece| piece.to);
    Ok(checked.map(|_| pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u64 = 4096;

    /// The pieces of a store with these exceptions in its first area.
    fn found(exceptions: &[(u64, u64)]) -> Result<Vec<Piece>, String> {
        let mut bytes = vec![0; 1024 * CHUNK as usize];
        for (slot, (old, new)) in exceptions.iter().enumerate() {
            let at = CHUNK as usize + 16 * slot;
            bytes[at..at + 8].copy_from_slice(&old.to_le_bytes());
            bytes[at + 8..at + 16].copy_from_slice(&new.to_le_bytes());
        }
        let shape = Shape { volume: 1000 * CHUNK, store: bytes.len() as u64, chunk: CHUNK };
        let read = |at: u64, buffer: &mut [u8]| {
            buffer.copy_from_slice(&bytes[at as usize..][..buffer.len()]);
            Ok(())
        };
        pieces(shape, read).expect("read").map_err(|flaw| flaw.to_string())
    }

    #[test]
    fn chunks_that_follow_each_other_in_both_are_one_piece() {
        let piece =
            |from, to, chunks| Piece { from: from * CHUNK, to: to * CHUNK, length: chunks * CHUNK };
        assert_eq!(found(&[]), Ok(vec![]));
        assert_eq!(found(&[(7, 2), (8, 3), (9, 4)]), Ok(vec![piece(2, 7, 3)]));
        let scattered = [(7, 2), (9, 3), (8, 4), (20, 5), (21, 7)];
        let pieces = [(2, 7, 1), (4, 8, 1), (3, 9, 1), (5, 20, 1), (7, 21, 1)];
        let pieces = pieces.map(|(from, to, chunks)| piece(from, to, chunks));
        assert_eq!(found(&scattered), Ok(pieces.to_vec()));
    }

    #[test]
    fn a_store_that_the_kernel_cannot_have_written_has_none() {
        let error = found(&[(7, 2), (7, 3)]).expect_err("a flaw");
        assert_eq!(error, "two exceptions are of one chunk (area 0)");
    }
}
