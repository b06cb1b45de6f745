use proptest::prelude::*;

use super::*;
use crate::cow::extents::Extent;

const CHUNK: u64 = 4096;
/// Of the volume.
const CHUNKS: u64 = 48;

/// What became of a chunk between two snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Untouched,
    /// Only the first snapshot has it, so they are of two volumes.
    OnlyInBase,
    WrittenSince,
    Kept,
    /// With other blocks, and the same content.
    RewrittenTheSame,
    Rewritten,
    /// One half of it has other blocks.
    HalfRewritten,
    /// It is where the file system does not say.
    Unknown {
        is_same: bool,
    },
    DiscardedBefore,
    DiscardedSince,
}

fn fate() -> impl Strategy<Value = Fate> {
    use Fate::*;
    let all = [
        Untouched,
        OnlyInBase,
        WrittenSince,
        Kept,
        RewrittenTheSame,
        Rewritten,
        HalfRewritten,
        Unknown { is_same: true },
        Unknown { is_same: false },
        DiscardedBefore,
        DiscardedSince,
    ];
    // Most chunks are kept, as with real snapshots.
    prop_oneof![5 => Just(Kept), 6 => proptest::sample::select(all.to_vec())]
}

/// A store: its pieces, its extents and, by offset, its content, a byte for each half of a chunk.
#[derive(Default)]
struct Store {
    pieces: Vec<Piece>,
    extents: Vec<Extent>,
    content: std::collections::HashMap<u64, [u8; 2]>,
}

impl Store {
    fn put(&mut self, chunk: u64, from: u64, places: [Option<Option<u64>>; 2], content: [u8; 2]) {
        self.pieces.push(Piece { from, to: chunk * CHUNK, length: CHUNK });
        for (offset, place) in [from, from + CHUNK / 2].into_iter().zip(places) {
            self.extents.extend(place.map(|place| Extent { offset, length: CHUNK / 2, place }));
        }
        self.content.insert(from, content);
    }

    fn side(&self, is_told: bool) -> Side<'_> {
        Side { pieces: &self.pieces, places: is_told.then_some(Places(&self.extents)) }
    }
}

/// The two stores. Chunks of the second are at other offsets than those of the first, or at the same.
fn stores(fates: &[Fate], shift: u64) -> [Store; 2] {
    let mut both = [Store::default(), Store::default()];
    for (chunk, fate) in (0..).zip(fates) {
        let from = [(chunk + 2) * CHUNK, (chunk + 2 + shift) * CHUNK];
        let old = (1 << 30) + chunk * 3 * CHUNK;
        let halves = |place: u64| [Some(Some(place)), Some(Some(place + CHUNK / 2))];
        let moved = [Some(Some(old + CHUNK)), Some(Some(old + CHUNK / 2))];
        let (nowhere, hole) = ([Some(None); 2], [None; 2]);
        let there = |places, content| Some((places, content));
        let sides = match fate {
            Fate::Untouched => [None, None],
            Fate::OnlyInBase => [there(halves(old), [1, 1]), None],
            Fate::WrittenSince => [None, there(halves(old), [1, 1])],
            Fate::Kept => [there(halves(old), [1, 1]); 2],
            Fate::RewrittenTheSame => {
                [there(halves(old), [1, 1]), there(halves(old + CHUNK), [1, 1])]
            }
            Fate::Rewritten => [there(halves(old), [1, 1]), there(halves(old + CHUNK), [2, 2])],
            Fate::HalfRewritten => [there(halves(old), [1, 1]), there(moved, [2, 1])],
            Fate::Unknown { is_same } => {
                [there(nowhere, [1, 1]), there(halves(old), [1 + u8::from(!is_same), 1])]
            }
            Fate::DiscardedBefore => [there(hole, [0, 0]); 2],
            Fate::DiscardedSince => [there(halves(old), [1, 1]), there(hole, [0, 0])],
        };
        for ((store, side), from) in both.iter_mut().zip(sides).zip(from) {
            if let Some((places, content)) = side {
                store.put(chunk, from, places, content);
            }
        }
    }
    both
}

/// The chunks that are told to differ, and how many were read.
fn found(stores: &[Store; 2], is_told: bool) -> (Vec<u64>, usize) {
    let mut ranges = Ranges::new(CHUNKS * CHUNK);
    let mut reads = 0;
    let sides = [stores[0].side(is_told), stores[1].side(is_told)];
    let mut is_same = |[a, b]: [u64; 2], length| {
        assert_eq!(length, CHUNK);
        reads += 1;
        Ok(stores[0].content[&a] == stores[1].content[&b])
    };
    compare(sides, CHUNK, &mut ranges, &mut is_same).expect("no error");
    let chunks = ranges
        .into_vec()
        .iter()
        .flat_map(|it| it.offset / CHUNK..(it.offset + it.length) / CHUNK)
        .collect();
    (chunks, reads)
}

proptest! {
    #[test]
    fn nothing_is_missed_and_only_what_was_written_is_named(
        fates in proptest::collection::vec(fate(), CHUNKS as usize), shift in 0u64..3,
    ) {
        let stores = stores(&fates, shift);
        let (chunks, reads) = found(&stores, true);
        let shares = fates.contains(&Fate::Kept)
            || fates.contains(&Fate::HalfRewritten) && chunks.is_empty();
        for (chunk, fate) in (0..).zip(&fates) {
            let expected = match fate {
                Fate::Untouched | Fate::Kept | Fate::DiscardedBefore => false,
                Fate::Unknown { is_same } => !is_same,
                // Where blocks are shared, nothing is read to find out more.
                Fate::RewrittenTheSame => shares,
                _ => true,
            };
            prop_assert_eq!(chunks.contains(&chunk), expected, "{} {:?}", chunk, fate);
        }
        if shares {
            let unknown = fates.iter().filter(|it| matches!(it, Fate::Unknown { .. })).count();
            prop_assert_eq!(reads, unknown);
        }
    }

    #[test]
    fn without_places_all_that_both_have_is_compared(
        fates in proptest::collection::vec(fate(), CHUNKS as usize), shift in 0u64..3,
    ) {
        let (chunks, _) = found(&stores(&fates, shift), false);
        for (chunk, fate) in (0..).zip(&fates) {
            let expected = match fate {
                Fate::Untouched | Fate::Kept | Fate::DiscardedBefore | Fate::RewrittenTheSame => {
                    false
                }
                Fate::Unknown { is_same } => !is_same,
                _ => true,
            };
            prop_assert_eq!(chunks.contains(&chunk), expected, "{} {:?}", chunk, fate);
        }
    }
}

#[test]
fn pieces_of_any_length_are_laid_over_each_other() {
    let piece =
        |from, to, chunks| Piece { from: from * CHUNK, to: to * CHUNK, length: chunks * CHUNK };
    let base = [piece(2, 3, 4), piece(9, 10, 2)];
    let target = [piece(20, 0, 5), piece(40, 6, 1), piece(50, 20, 1)];
    let whole = [Extent { offset: 0, length: 1 << 30, place: Some(0) }];
    let [base, target] =
        [&base[..], &target[..]].map(|pieces| Side { pieces, places: Some(Places(&whole)) });
    let mut ranges = Ranges::new(CHUNKS * CHUNK);
    let mut compared = Vec::new();
    let mut is_same = |[a, b]: [u64; 2], _| {
        compared.push((a / CHUNK, b / CHUNK));
        Ok(false)
    };
    compare([base, target], CHUNK, &mut ranges, &mut is_same).expect("no error");
    // The files have no block in common where chunks of both are: all of them are read.
    assert_eq!(compared, [(2, 23), (3, 24), (5, 40)]);
    let told: Vec<(u64, u64)> =
        ranges.into_vec().iter().map(|it| (it.offset / CHUNK, it.length / CHUNK)).collect();
    assert_eq!(told, [(0, 7), (10, 2), (20, 1)]);
}

#[test]
fn a_disk_that_fails_ends_the_comparison() {
    let stores = stores(&[Fate::Unknown { is_same: true }], 0);
    let mut ranges = Ranges::new(CHUNKS * CHUNK);
    let sides = [stores[0].side(true), stores[1].side(true)];
    let failed = compare(sides, CHUNK, &mut ranges, &mut |_, _| Err(io::Error::other("disk")));
    assert!(failed.is_err());
}
