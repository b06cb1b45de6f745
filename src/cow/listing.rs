//! Adds exceptions to a COW store from outside, as the kernel would, and takes some away.
//!
//! No device may be over the store meanwhile. The kernel takes the exceptions in any order, and chunks of the store that none
//! points to are left out for good.

use std::collections::BTreeSet;
use std::io;

use crate::cow::size::EXCEPTION_SIZE;

/// Writes bytes at an offset of a store.
pub(crate) type Write<'a> = dyn FnMut(u64, &[u8]) -> io::Result<()> + 'a;

/// The exceptions of a store to which more are added.
pub(crate) struct Listing {
    /// Size of a chunk, in bytes.
    chunk: u64,
    /// Number of exceptions.
    count: u64,
    /// The first chunk of the store that has no content yet.
    next: u64,
    /// What the area is to list in which the next exception belongs.
    area: Vec<u8>,
}

impl Listing {
    /// Of an empty store with chunks of `chunk` bytes.
    pub(crate) fn new(chunk: u64) -> Self {
        Self { chunk, count: 0, next: 2, area: Vec::new() }
    }

    /// Of a store with these exceptions, in the order in which they are listed: the chunk of the volume, and the chunk
    /// of the store that has its content.
    pub(crate) fn of(chunk: u64, exceptions: &[(u64, u64)]) -> Self {
        let last = exceptions.iter().map(|(_, new)| *new).max();
        let mut listing = Self::new(chunk);
        listing.next = last.map_or(listing.next, |last| last + 1);
        listing.count = exceptions.len() as u64;
        let listed = exceptions.len() as u64 % listing.per_area();
        let tail = exceptions.len() - usize::try_from(listed).unwrap_or(0);
        exceptions[tail..].iter().for_each(|exception| listing.list(*exception));
        listing
    }

    /// Adds an exception of a chunk of the volume, which has none. Returns the chunk of the store for its content.
    pub(crate) fn add(&mut self, old: u64, write: &mut Write<'_>) -> io::Result<u64> {
        let new = if self.is_area(self.next) { self.next + 1 } else { self.next };
        self.list((old, new));
        self.next = new + 1;
        self.count += 1;
        if self.count.is_multiple_of(self.per_area()) {
            self.write_area(self.count / self.per_area() - 1, write)?;
            self.area.clear();
        }
        Ok(new)
    }

    /// Writes what was added since. Returns the length of the store: the kernel reads areas up to the first that is not
    /// full.
    pub(crate) fn finish(&mut self, write: &mut Write<'_>) -> io::Result<u64> {
        let area = self.count / self.per_area();
        self.write_area(area, write)?;
        Ok(self.next.max(self.place(area) + 1) * self.chunk)
    }

    fn per_area(&self) -> u64 {
        self.chunk / EXCEPTION_SIZE
    }

    /// The chunk of the store that has the list of an area.
    fn place(&self, area: u64) -> u64 {
        1 + area * (self.per_area() + 1)
    }

    fn is_area(&self, chunk: u64) -> bool {
        (chunk - 1).is_multiple_of(self.per_area() + 1)
    }

    fn list(&mut self, (old, new): (u64, u64)) {
        self.area.extend([old, new].map(u64::to_le_bytes).as_flattened());
    }

    /// Writes the list of an area, with blanks at its end.
    fn write_area(&self, area: u64, write: &mut Write<'_>) -> io::Result<()> {
        let mut bytes = self.area.clone();
        bytes.resize(usize::try_from(self.chunk).unwrap_or(usize::MAX), 0);
        write(self.place(area) * self.chunk, &bytes)
    }
}

/// Takes exceptions away from a store with these, in the order in which they are listed. Returns the chunks of the
/// store that nothing points to any more.
pub(crate) fn remove(
    chunk: u64,
    exceptions: &[(u64, u64)],
    removed: &BTreeSet<u64>,
    write: &mut Write<'_>,
) -> io::Result<Vec<u64>> {
    let mut listing = Listing::new(chunk);
    let mut free = Vec::new();
    for (old, new) in exceptions {
        if removed.contains(old) {
            free.push(*new);
            continue;
        }
        listing.list((*old, *new));
        listing.count += 1;
        if listing.count.is_multiple_of(listing.per_area()) {
            listing.write_area(listing.count / listing.per_area() - 1, write)?;
            listing.area.clear();
        }
    }
    // The rest of the last area, and those that list nothing any more.
    for area in listing.count / listing.per_area()..=exceptions.len() as u64 / listing.per_area() {
        listing.write_area(area, write)?;
        listing.area.clear();
    }
    Ok(free)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cow::exceptions::{Content, Shape, walk};

    const CHUNK: u64 = 4096;
    const VOLUME: u64 = 2000;

    /// What the lists of a store have, which is as long as it has to be.
    #[derive(Default)]
    struct Store(Vec<u8>);

    impl Store {
        fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
            let at = at as usize;
            self.0.resize(self.0.len().max(at + bytes.len()), 0);
            self.0[at..at + bytes.len()].copy_from_slice(bytes);
            Ok(())
        }

        fn add(&mut self, listing: &mut Listing, chunks: &[u64]) {
            for old in chunks {
                listing.add(*old, &mut |at, bytes| self.write(at, bytes)).expect("memory");
            }
            let length = listing.finish(&mut |at, bytes| self.write(at, bytes)).expect("memory");
            self.0.resize(length as usize, 0);
        }

        fn remove(&mut self, removed: &BTreeSet<u64>) -> Vec<u64> {
            let (_, exceptions) = self.exceptions();
            remove(CHUNK, &exceptions, removed, &mut |at, bytes| self.write(at, bytes))
                .expect("memory")
        }

        /// What the kernel would find.
        fn exceptions(&self) -> (Content, Vec<(u64, u64)>) {
            let shape = Shape { volume: VOLUME * CHUNK, store: self.0.len() as u64, chunk: CHUNK };
            let mut found = Vec::new();
            let read = |at: u64, buffer: &mut [u8]| {
                buffer.copy_from_slice(&self.0[at as usize..][..buffer.len()]);
                Ok(())
            };
            let content = walk(shape, read, &mut |old, new| found.push((old, new)))
                .expect("memory")
                .expect("no flaw");
            (content, found)
        }

        fn chunks(&self) -> Vec<u64> {
            self.exceptions().1.into_iter().map(|(old, _)| old).collect()
        }
    }

    #[test]
    fn a_store_is_laid_out_as_the_kernel_does() {
        for (count, last, length) in
            [(0, 1, 2), (1, 2, 3), (255, 256, 257), (256, 257, 259), (257, 259, 260)]
        {
            let mut store = Store::default();
            let chunks: Vec<u64> = (0..count).rev().collect();
            store.add(&mut Listing::new(CHUNK), &chunks);
            let (content, exceptions) = store.exceptions();
            assert_eq!(store.chunks(), chunks, "{count}");
            assert_eq!(exceptions.last().map_or(1, |(_, new)| *new), last, "{count}");
            assert_eq!(store.0.len() as u64, length * CHUNK, "{count}");
            assert_eq!((content.exceptions, content.stored), (count, length * CHUNK), "{count}");
        }
    }

    proptest! {
        #[test]
        fn what_was_added_and_not_removed_is_there(
            order in Just((0..VOLUME).collect::<Vec<u64>>()).prop_shuffle(),
            first in 0usize..700,
            later in 0usize..700,
            removed in proptest::collection::btree_set(0u64..VOLUME, 0..900),
        ) {
            let (chunks, rest) = order.split_at(first);
            let mut store = Store::default();
            store.add(&mut Listing::new(CHUNK), chunks);
            let free = store.remove(&removed);
            let mut left: Vec<u64> = chunks.to_vec();
            left.retain(|old| !removed.contains(old));
            prop_assert_eq!(free.len() + left.len(), first);
            prop_assert_eq!(store.chunks(), left.clone());
            // More are added to what is left.
            let (_, exceptions) = store.exceptions();
            let more = &rest[..later];
            store.add(&mut Listing::of(CHUNK, &exceptions), more);
            left.extend(more);
            prop_assert_eq!(store.chunks(), left);
            let (content, exceptions) = store.exceptions();
            prop_assert!(content.stored <= store.0.len() as u64);
            prop_assert!(exceptions.iter().all(|(_, new)| !free.contains(new) || *new >= 2));
        }
    }
}
