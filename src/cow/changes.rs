//! Which chunks differ between two COW stores that rest on the same content.
//!
//! A chunk that neither has is the content's in both. One that only one of them has is taken for changed. Of a chunk
//! that both have, the places on the disk say whether it is the same; where they do not, the content is compared.

use std::io;

use crate::cow::extents::{Likeness, Places};
use crate::cow::pieces::Piece;
use crate::model::block_range::Ranges;

/// One of the stores.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    /// Its pieces, in the order of their places in the volume.
    pub(crate) pieces: &'a [Piece],
    /// Where its bytes are on the disk, if the file system says so reliably.
    pub(crate) places: Option<Places<'a>>,
}

/// A run of chunks that both stores have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Overlap {
    /// Offset in the volume.
    to: u64,
    /// Offset in each store.
    from: [u64; 2],
    length: u64,
}

/// Adds to `ranges` what differs, in chunks of `chunk` bytes, in ascending order. `is_same` compares as many bytes of
/// both stores, from these offsets on.
pub(crate) fn compare(
    [base, target]: [Side<'_>; 2],
    chunk: u64,
    ranges: &mut Ranges,
    is_same: &mut dyn FnMut([u64; 2], u64) -> io::Result<bool>,
) -> io::Result<()> {
    let places = base.places.zip(target.places).filter(|both| share(base, target, *both, chunk));
    merge(base.pieces, target.pieces, &mut |part| {
        let Overlap { to, from, length } = match part {
            Part::One { to, length } => {
                ranges.add(to, length);
                return Ok(());
            }
            Part::Both(overlap) => overlap,
        };
        for at in (0..length).step_by(usize::try_from(chunk).unwrap_or(usize::MAX)) {
            let from = from.map(|offset| offset + at);
            let is_same = match places.map(|(a, b)| a.compare(from[0], b, from[1], chunk)) {
                Some(Likeness::Same) => true,
                Some(Likeness::Apart) => false,
                Some(Likeness::Unknown) | None => is_same(from, chunk)?,
            };
            if !is_same {
                ranges.add(to + at, chunk);
            }
        }
        Ok(())
    })
}

/// Whether the stores have any block in common. If not, they are copies: then chunks at different places say
/// nothing.
fn share(base: Side<'_>, target: Side<'_>, (a, b): (Places<'_>, Places<'_>), chunk: u64) -> bool {
    let found = merge(base.pieces, target.pieces, &mut |part| {
        let Part::Both(Overlap { from, length, .. }) = part else { return Ok(()) };
        for at in (0..length).step_by(usize::try_from(chunk).unwrap_or(usize::MAX)) {
            let [ours, theirs] = from.map(|offset| offset + at);
            let same = a.compare(ours, b, theirs, chunk) == Likeness::Same;
            if same && a.has_blocks(ours, chunk) {
                return Err(());
            }
        }
        Ok(())
    });
    found.is_err()
}

/// A part of the volume that is in the stores.
enum Part {
    /// In one of them.
    One {
        to: u64,
        length: u64,
    },
    Both(Overlap),
}

/// Walks through what either store has, in ascending order.
fn merge<E>(
    base: &[Piece],
    target: &[Piece],
    tell: &mut dyn FnMut(Part) -> Result<(), E>,
) -> Result<(), E> {
    let (mut base, mut target) = (base.iter().copied(), target.iter().copied());
    let (mut ours, mut theirs) = (base.next(), target.next());
    loop {
        match (ours, theirs) {
            (Some(a), Some(b)) if a.to == b.to => {
                let length = a.length.min(b.length);
                tell(Part::Both(Overlap { to: a.to, from: [a.from, b.from], length }))?;
                ours = rest(a, length).or_else(|| base.next());
                theirs = rest(b, length).or_else(|| target.next());
            }
            (Some(a), b) if b.is_none_or(|b| a.to < b.to) => {
                let length = b.map_or(a.length, |b| a.length.min(b.to - a.to));
                tell(Part::One { to: a.to, length })?;
                ours = rest(a, length).or_else(|| base.next());
            }
            (a, Some(b)) => {
                let length = a.map_or(b.length, |a| b.length.min(a.to - b.to));
                tell(Part::One { to: b.to, length })?;
                theirs = rest(b, length).or_else(|| target.next());
            }
            (_, None) => return Ok(()),
        }
    }
}

/// What follows the first `length` bytes of a piece.
fn rest(piece: Piece, length: u64) -> Option<Piece> {
    let Piece { from, to, length: all } = piece;
    (length < all).then(|| Piece { from: from + length, to: to + length, length: all - length })
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
