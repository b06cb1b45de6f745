//! Which of some chunks of a volume are in its COW store, and where.

use crate::cow::pieces::Piece;
use crate::model::block_range::BlockRange;

/// Chunks of a volume that follow each other. In bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Selected {
    /// Where they are in the volume.
    pub(crate) to: u64,
    pub(crate) length: u64,
    /// Where the store has them; `None` if it does not have them.
    pub(crate) from: Option<u64>,
}

/// The chunks that the ranges of a volume touch, in ascending order. `pieces` and `ranges` are in that order too.
pub(crate) fn select(pieces: &[Piece], ranges: &[BlockRange], chunk: u64) -> Vec<Selected> {
    let mut selected = Vec::new();
    let mut pieces = pieces.iter().peekable();
    let mut at = 0;
    for range in ranges {
        // Two ranges may touch one chunk.
        at = at.max(range.offset / chunk * chunk);
        let end = (range.offset + range.length).next_multiple_of(chunk);
        while at < end {
            while pieces.next_if(|piece| piece.to + piece.length <= at).is_some() {}
            let (until, from) = match pieces.peek() {
                Some(piece) if piece.to <= at => {
                    (piece.to + piece.length, Some(piece.from + (at - piece.to)))
                }
                Some(piece) => (piece.to, None),
                None => (end, None),
            };
            let until = until.min(end);
            selected.push(Selected { to: at, length: until - at, from });
            at = until;
        }
    }
    selected
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u64 = 4096;

    fn found(pieces: &[(u64, u64, u64)], ranges: &[(u64, u64)]) -> Vec<(u64, u64, Option<u64>)> {
        let pieces: Vec<Piece> = pieces
            .iter()
            .map(|(from, to, length)| Piece {
                from: from * CHUNK,
                to: to * CHUNK,
                length: length * CHUNK,
            })
            .collect();
        let ranges: Vec<BlockRange> = ranges
            .iter()
            .map(|(offset, length)| BlockRange { offset: *offset, length: *length })
            .collect();
        let chunks =
            |it: Selected| (it.to / CHUNK, it.length / CHUNK, it.from.map(|from| from / CHUNK));
        select(&pieces, &ranges, CHUNK).into_iter().map(chunks).collect()
    }

    #[test]
    fn each_chunk_is_where_the_store_has_it() {
        let pieces = [(2, 10, 4), (30, 14, 2), (6, 20, 1)];
        let all = [(0, 30 * CHUNK)];
        assert_eq!(
            found(&pieces, &all),
            [
                (0, 10, None),
                (10, 4, Some(2)),
                (14, 2, Some(30)),
                (16, 4, None),
                (20, 1, Some(6)),
                (21, 9, None)
            ]
        );
        assert_eq!(found(&[], &[(CHUNK, CHUNK)]), [(1, 1, None)]);
        assert_eq!(found(&pieces, &[]), []);
        assert_eq!(
            found(&pieces, &[(11 * CHUNK, CHUNK), (15 * CHUNK, CHUNK)]),
            [(11, 1, Some(3)), (15, 1, Some(31))]
        );
    }

    #[test]
    fn a_range_takes_in_all_chunks_that_it_touches_once() {
        let pieces = [(2, 1, 1), (9, 3, 1)];
        assert_eq!(found(&pieces, &[(CHUNK + 512, 512)]), [(1, 1, Some(2))]);
        // The second begins in the chunk in which the first ends.
        assert_eq!(
            found(&pieces, &[(CHUNK, 512), (CHUNK + 1024, 2 * CHUNK)]),
            [(1, 1, Some(2)), (2, 1, None), (3, 1, Some(9))]
        );
        assert_eq!(found(&pieces, &[(CHUNK, 512), (CHUNK + 1024, 512)]), [(1, 1, Some(2))]);
    }
}
