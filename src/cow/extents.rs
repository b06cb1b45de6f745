//! Where the bytes of a file are on the disk, and whether two files have the same bytes there.

/// A run of bytes of a file that is not a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// Where it begins on the disk, in bytes. `None` if the bytes of the file need not be those there: they are
    /// encoded, not written yet, or stored elsewhere.
    pub place: Option<u64>,
}

/// What the places of two runs of bytes say of their content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Likeness {
    /// Both are the same blocks, or holes.
    Same,
    /// The places say nothing.
    Unknown,
    /// Each has blocks of its own.
    Apart,
}

/// All extents of a file, in ascending order. What is between them is holes.
#[derive(Clone, Copy)]
pub(crate) struct Places<'a>(pub(crate) &'a [Extent]);

/// What a file has at some offset.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Hole,
    Block(u64),
    Somewhere,
}

impl Places<'_> {
    /// Compares `length` bytes from `at` on with as many of another file.
    pub(crate) fn compare(
        self,
        at: u64,
        other: Places<'_>,
        other_at: u64,
        length: u64,
    ) -> Likeness {
        let mut worst = Likeness::Same;
        let mut done = 0;
        while done < length && worst != Likeness::Apart {
            let (ours, until) = self.at(at + done);
            let (theirs, other_until) = other.at(other_at + done);
            worst = worst.max(match (ours, theirs) {
                (Found::Somewhere, _) | (_, Found::Somewhere) => Likeness::Unknown,
                _ if ours == theirs => Likeness::Same,
                _ => Likeness::Apart,
            });
            done += (until - at - done).min(other_until - other_at - done);
        }
        worst
    }

    /// Whether any byte of these is in a block whose place is known.
    pub(crate) fn has_blocks(self, at: u64, length: u64) -> bool {
        let first = self.0.partition_point(|it| it.offset + it.length <= at);
        let overlaps = self.0[first..].iter().take_while(|it| it.offset < at + length);
        overlaps.into_iter().any(|it| it.place.is_some())
    }

    /// What is at an offset, and up to which offset that goes on.
    fn at(self, offset: u64) -> (Found, u64) {
        let next = self.0.partition_point(|it| it.offset + it.length <= offset);
        match self.0.get(next) {
            None => (Found::Hole, u64::MAX),
            Some(it) if it.offset > offset => (Found::Hole, it.offset),
            Some(it) => {
                let found = match it.place {
                    Some(place) => Found::Block(place + (offset - it.offset)),
                    None => Found::Somewhere,
                };
                (found, it.offset + it.length)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn extent(offset: u64, length: u64, place: Option<u64>) -> Extent {
        Extent { offset, length, place }
    }

    #[test]
    fn only_the_same_blocks_and_holes_are_the_same() {
        let ours =
            [extent(0, 100, Some(1000)), extent(200, 100, Some(5000)), extent(300, 50, None)];
        let theirs =
            [extent(0, 50, Some(1050)), extent(50, 50, Some(7000)), extent(200, 150, Some(5000))];
        let (ours, theirs) = (Places(&ours), Places(&theirs));
        for (at, other_at, length, likeness) in [
            // One block at two offsets.
            (50, 0, 50, Likeness::Same),
            (0, 0, 50, Likeness::Apart),
            (50, 0, 51, Likeness::Apart),
            (100, 100, 100, Likeness::Same),
            (199, 199, 2, Likeness::Same),
            (200, 200, 100, Likeness::Same),
            (200, 200, 101, Likeness::Unknown),
            (300, 300, 50, Likeness::Unknown),
            // A hole is not data, which may be zeros.
            (100, 200, 10, Likeness::Apart),
            (350, 400, 1 << 40, Likeness::Same),
            // Blocks of which nothing is known end with blocks that differ.
            (345, 245, 10, Likeness::Apart),
        ] {
            assert_eq!(ours.compare(at, theirs, other_at, length), likeness, "{at} {other_at}");
            assert_eq!(theirs.compare(other_at, ours, at, length), likeness, "{at} {other_at}");
        }
        assert!(
            ours.has_blocks(299, 51) && !ours.has_blocks(300, 50) && !ours.has_blocks(100, 100)
        );
    }
}
