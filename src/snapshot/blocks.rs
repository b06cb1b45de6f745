//! Which ranges of a snapshot hold something, and which differ from those of another: for backups.
//!
//! Nothing of the content is read where the file system shares blocks. What cannot be proven to be the same by the
//! places of its blocks is read and compared, so that a change is never missed (ADR 0090).

use std::io;

use crate::cow::changes::{self, Side};
use crate::cow::extents::{Extent, Places};
use crate::cow::pieces::Piece;
use crate::error::{Error, ErrorKind, Result};
use crate::model::block_range::{BlockRange, Ranges};
use crate::pool::PoolDir;
use crate::snapshot::commit::{hold, pieces_of};
use crate::sys::lock::{Lock, Mode};
use crate::sys::{ImageFile, OpenMode};
use crate::volume::start::{self, Start};

/// What an error of a comparison says.
const COMPARE: &str = "compare snapshot";
/// What an error of a list of ranges says.
const SURVEY: &str = "find the data of snapshot";

/// Ranges of a snapshot, in ascending order, none of which touches another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Blocks {
    /// Size of the snapshot, in bytes.
    pub size: u64,
    /// Size of its chunks, in bytes: what was written is known in these steps.
    pub chunk_size: u64,
    ranges: Vec<BlockRange>,
}

impl Blocks {
    /// The ranges.
    pub fn ranges(&self) -> &[BlockRange] {
        &self.ranges
    }

    /// The sum of their lengths, in bytes.
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.length).sum()
    }

    /// The parts of the ranges at or after `offset`.
    pub fn starting_at(&self, offset: u64) -> impl Iterator<Item = BlockRange> + use<'_> {
        let first = self.ranges.partition_point(|range| range.offset + range.length <= offset);
        self.ranges[first..].iter().map(move |range| {
            let end = range.offset + range.length;
            let offset = range.offset.max(offset);
            BlockRange { offset, length: end - offset }
        })
    }
}

impl IntoIterator for Blocks {
    type Item = BlockRange;
    type IntoIter = std::vec::IntoIter<BlockRange>;

    fn into_iter(self) -> Self::IntoIter {
        self.ranges.into_iter()
    }
}

/// A snapshot that stays in place meanwhile.
pub(super) struct Held {
    pub(super) start: Start,
    _lock: Lock,
}

impl Held {
    pub(super) fn take(pool: &PoolDir, name: &str) -> Result<Self> {
        let (start, lock) = start::hold(pool, name, Mode::Shared)?;
        Ok(Self { start, _lock: lock })
    }

    /// The parts of its store, in the order of their places.
    pub(super) fn pieces(&self, pool: &PoolDir, operation: &'static str) -> Result<Vec<Piece>> {
        pieces_of(pool, &self.start.content, &self.start.store, operation)
    }

    fn extents(&self, pool: &PoolDir) -> Result<Option<Vec<Extent>>> {
        pool.host().extents(&self.start.store)
    }

    /// Opens its store.
    pub(super) fn open(&self, pool: &PoolDir) -> Result<Box<dyn ImageFile>> {
        pool.host().open_image(&self.start.store, OpenMode::Read)
    }

    fn blocks(&self, ranges: Ranges) -> Blocks {
        let content = &self.start.content;
        Blocks { size: content.size, chunk_size: content.chunk_size, ranges: ranges.into_vec() }
    }
}

/// The ranges that hold something: the template's data, and what was written.
pub(crate) fn allocated(pool: &PoolDir, name: &str) -> Result<Blocks> {
    let held = Held::take(pool, name)?;
    let content = &held.start.content;
    let _image = hold(pool, content)?;
    let mut written = Ranges::new(content.size);
    for piece in held.pieces(pool, SURVEY)? {
        written.add(piece.to, piece.length);
    }
    let path = pool.layout().image(&content.digest);
    let image = pool.host().open_image(&path, OpenMode::Read)?;
    let data = data(&*image, content.template_size)
        .map_err(|e| Error::io("find the data of", path.display(), e))?;
    Ok(held.blocks(written.union(data)))
}

/// Where the first `length` bytes of an image are no hole.
fn data(image: &dyn ImageFile, length: u64) -> io::Result<Ranges> {
    let mut ranges = Ranges::new(length);
    let mut at = image.next_data(0)?;
    while at < length {
        let end = image.next_hole(at)?;
        ranges.add(at, end - at);
        at = image.next_data(end)?;
    }
    Ok(ranges)
}

/// The ranges of the snapshot `name` in which it may differ from the snapshot `base`. In all others, both have the
/// same content. What the snapshot has behind the end of `base` is one of them.
///
/// # Errors
///
/// `InvalidArgument` if they do not rest on the same content in chunks of the same size.
pub(crate) fn changed(pool: &PoolDir, base: &str, name: &str) -> Result<Blocks> {
    let (before, after) = (Held::take(pool, base)?, Held::take(pool, name)?);
    let new = after.pieces(pool, COMPARE)?;
    let ranges = differences(pool, &before, &after, &new)?;
    Ok(after.blocks(ranges))
}

/// The same of snapshots that are in place; `new` are the pieces of the second.
pub(super) fn differences(
    pool: &PoolDir,
    before: &Held,
    after: &Held,
    new: &[Piece],
) -> Result<Ranges> {
    comparable(before, after)?;
    let old = before.pieces(pool, COMPARE)?;
    let extents = extents(pool, [before, after])?;
    let stores = [before.open(pool)?, after.open(pool)?];
    let places = |n: usize| extents.as_ref().map(|both| Places(&both[n]));
    let sides = [Side { pieces: &old, places: places(0) }, Side { pieces: new, places: places(1) }];
    let chunk = after.start.content.chunk_size;
    let length = usize::try_from(chunk).unwrap_or(usize::MAX);
    let mut buffers = [vec![0; length], vec![0; length]];
    let mut ranges = Ranges::new(after.start.content.size);
    let compared = changes::compare(sides, chunk, &mut ranges, &mut |from, _| {
        for ((store, at), buffer) in stores.iter().zip(from).zip(&mut buffers) {
            if store.fill_from(buffer, at)? < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(buffers[0] == buffers[1])
    });
    let [base, name] = [before, after].map(|it| &it.start.content.name);
    compared.map_err(|e| Error::io(COMPARE, format!("{name} with {base}"), e))?;
    let mut grown = Ranges::new(after.start.content.size);
    grown.add(before.start.content.size, u64::MAX);
    Ok(ranges.union(grown))
}

/// Refuses snapshots whose stores say nothing of each other.
fn comparable(before: &Held, after: &Held) -> Result<()> {
    let (base, target) = (&before.start.content, &after.start.content);
    let why = if base.digest != target.digest {
        let [ours, theirs] = [target, base].map(|it| it.digest.qualified());
        format!("it rests on the template content {ours}, and {} on {theirs}", base.name)
    } else if base.chunk_size != target.chunk_size {
        let [ours, theirs] = [target, base].map(|it| it.chunk_size);
        format!("it has chunks of {ours} bytes, and {} of {theirs}", base.name)
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::InvalidArgument, COMPARE, &target.name, why)
        .remedy("compare snapshots of one volume, or back the snapshot up as a whole"))
}

/// Where the stores are on the disk, if the file system says so reliably and did not move them meanwhile.
fn extents(pool: &PoolDir, [before, after]: [&Held; 2]) -> Result<Option<[Vec<Extent>; 2]>> {
    let (Some(old), Some(new)) = (before.extents(pool)?, after.extents(pool)?) else {
        return Ok(None);
    };
    // A place is of one block only at one time: a defragmentation may have freed one of the first file for the
    // second.
    Ok((before.extents(pool)?.as_ref() == Some(&old)).then_some([old, new]))
}
