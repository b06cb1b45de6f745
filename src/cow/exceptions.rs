//! The exceptions of a COW store: which chunks were written, and where each is stored.
//!
//! After the header comes an area: one chunk of metadata that lists exceptions, then the chunks of data
//! that these point to, then the next area. The first exception that points nowhere ends the list
//! (Linux, `drivers/md/dm-snap-persistent.c`).

use std::fmt;
use std::io;

use crate::cow::size::EXCEPTION_SIZE;

/// A store, as far as its exceptions depend on it. Sizes are in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Of the volume.
    pub(crate) volume: u64,
    /// Of the store.
    pub(crate) store: u64,
    /// Of a chunk.
    pub(crate) chunk: u64,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// Number of exceptions.
    pub(crate) exceptions: u64,
    /// Bytes from the start of the store that the kernel needs to read all of it.
    pub(crate) stored: u64,
}

/// Why the exceptions of a store cannot be what the kernel wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    area: u64,
    what: &'static str,
}

/// Checks every exception of a store, and returns what the store holds. `read` fills a buffer from an offset of
/// the store on.
///
/// Each must map a chunk of the volume to a data chunk within the store, no two may share either, and
/// what follows the last one in its area must be blank.
pub(crate) fn check(
    shape: Shape,
    read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<Result<Content, Flaw>> {
    walk(shape, read, &mut |_, _| ())
}

/// Does the same, and tells `found` of each exception in the order in which the kernel made them: the chunk of
/// the volume, and the chunk of the store that has its content.
pub(crate) fn walk(
    shape: Shape,
    mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    found: &mut dyn FnMut(u64, u64),
) -> io::Result<Result<Content, Flaw>> {
    let per_area = shape.chunk / EXCEPTION_SIZE;
    let chunks = shape.store / shape.chunk;
    let mut seen = Seen {
        volume: Bits::new(shape.volume.div_ceil(shape.chunk)),
        store: Bits::new(chunks),
        stride: per_area + 1,
        last: 0,
    };
    let mut metadata = vec![0; usize::try_from(shape.chunk).unwrap_or(usize::MAX)];
    let (mut count, mut end) = (0, 0);
    for area in 0.. {
        let at = 1 + area * seen.stride;
        if at >= chunks {
            break;
        }
        read(at * shape.chunk, &mut metadata)?;
        end = at + 1;
        match seen.area(&metadata, found) {
            Ok(exceptions) => count += exceptions,
            Err(what) => return Ok(Err(Flaw { area, what })),
        }
        if count < (area + 1) * per_area {
            break;
        }
    }
    let stored = end.max(seen.last + 1) * shape.chunk;
    Ok(Ok(Content { exceptions: count, stored }))
}

/// The chunks that an exception was found for.
struct Seen {
    volume: Bits,
    store: Bits,
    /// Chunks from one area to the next.
    stride: u64,
    /// The last chunk of the store that an exception points to.
    last: u64,
}

impl Seen {
    /// The number of exceptions in the metadata of an area.
    fn area(
        &mut self,
        metadata: &[u8],
        found: &mut dyn FnMut(u64, u64),
    ) -> Result<u64, &'static str> {
        let (exceptions, _) = metadata.as_chunks::<{ EXCEPTION_SIZE as usize }>();
        let mut count = 0;
        let mut ended = false;
        for exception in exceptions {
            let (old, new) = halves(exception);
            if new == 0 {
                if old != 0 {
                    return Err("an exception points nowhere");
                }
                ended = true;
                continue;
            }
            if ended {
                return Err("an exception follows the end of the list");
            }
            self.exception(old, new)?;
            found(old, new);
            count += 1;
        }
        Ok(count)
    }

    fn exception(&mut self, old: u64, new: u64) -> Result<(), &'static str> {
        if (new - 1).is_multiple_of(self.stride) {
            return Err("an exception points to metadata");
        }
        self.last = self.last.max(new);
        match self.volume.insert(old) {
            None => return Err("an exception is of a chunk behind the end of the volume"),
            Some(false) => return Err("two exceptions are of one chunk"),
            Some(true) => {}
        }
        match self.store.insert(new) {
            None => Err("an exception points behind the end of the store"),
            Some(false) => Err("two exceptions point to one chunk"),
            Some(true) => Ok(()),
        }
    }
}

fn halves(exception: &[u8; EXCEPTION_SIZE as usize]) -> (u64, u64) {
    let [old, new] = [0, 8].map(|at| {
        let mut word = [0; 8];
        word.copy_from_slice(&exception[at..at + 8]);
        u64::from_le_bytes(word)
    });
    (old, new)
}

/// A set of numbers below a limit. Takes up memory only where numbers are.
struct Bits {
    words: Vec<u64>,
    limit: u64,
}

impl Bits {
    fn new(limit: u64) -> Self {
        // The allocator gets zeroed memory from the kernel, which supplies a page at its first use.
        Self { words: vec![0; usize::try_from(limit.div_ceil(64)).unwrap_or(usize::MAX)], limit }
    }

    /// Whether the number is new to the set; `None` if it is out of range.
    fn insert(&mut self, number: u64) -> Option<bool> {
        if number >= self.limit {
            return None;
        }
        let word = self.words.get_mut(usize::try_from(number / 64).ok()?)?;
        let bit = 1 << (number % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        Some(is_new)
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (area {})", self.what, self.area)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cow::store_size;

    const CHUNK: u64 = 4096;
    const PER_AREA: u64 = CHUNK / EXCEPTION_SIZE;

    /// A store in which the kernel has put these chunks of a volume, in this order.
    fn store(volume: u64, written: impl IntoIterator<Item = u64>) -> (Shape, Vec<u8>) {
        let shape = Shape { volume, store: store_size(volume, None, CHUNK), chunk: CHUNK };
        let mut bytes = vec![0; shape.store as usize];
        for (n, old) in (0..).zip(written) {
            let (area, slot) = (n / PER_AREA, n % PER_AREA);
            let new = 1 + area * (PER_AREA + 1) + 1 + slot;
            put(&mut bytes, area, slot, old, new);
        }
        (shape, bytes)
    }

    fn put(bytes: &mut [u8], area: u64, slot: u64, old: u64, new: u64) {
        let at = ((1 + area * (PER_AREA + 1)) * CHUNK + slot * EXCEPTION_SIZE) as usize;
        bytes[at..at + 8].copy_from_slice(&old.to_le_bytes());
        bytes[at + 8..at + 16].copy_from_slice(&new.to_le_bytes());
    }

    fn checked(shape: Shape, bytes: &[u8]) -> Result<u64, String> {
        content(shape, bytes).map(|content| content.exceptions)
    }

    fn content(shape: Shape, bytes: &[u8]) -> Result<Content, String> {
        let read = |at: u64, buffer: &mut [u8]| {
            let at = at as usize;
            buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
            Ok(())
        };
        check(shape, read).expect("read").map_err(|flaw| flaw.to_string())
    }

    #[test]
    fn a_store_of_the_kernel_is_whole() {
        for count in [0, 1, PER_AREA - 1, PER_AREA, PER_AREA + 1, 3 * PER_AREA] {
            let (shape, bytes) = store(1000 * CHUNK, (0..count).rev());
            assert_eq!(checked(shape, &bytes), Ok(count));
        }
    }

    #[test]
    fn what_a_store_holds_ends_behind_its_last_chunk_and_its_last_area() {
        for (count, chunks) in [
            (0, 2),
            (1, 3),
            (PER_AREA - 1, 1 + PER_AREA),
            // The kernel also reads the next area.
            (PER_AREA, 1 + 1 + PER_AREA + 1),
            (PER_AREA + 1, 1 + 1 + PER_AREA + 2),
        ] {
            let (shape, bytes) = store(1000 * CHUNK, 0..count);
            let stored = content(shape, &bytes).expect("whole").stored;
            assert_eq!(stored, chunks * CHUNK, "{count}");
        }
        let (shape, mut bytes) = store(1000 * CHUNK, 0..3);
        put(&mut bytes, 0, 3, 9, 200);
        assert_eq!(
            content(shape, &bytes).expect("whole").stored,
            201 * CHUNK,
            "chunks may be left out"
        );
    }

    #[test]
    fn a_full_store_is_whole() {
        let (mut shape, bytes) = store(PER_AREA * CHUNK, 0..PER_AREA);
        // Without the next area: the limit was as many chunks as an area has.
        shape.store = (1 + 1 + PER_AREA) * CHUNK;
        assert_eq!(checked(shape, &bytes), Ok(PER_AREA));
    }

    #[test]
    fn flaws_are_found() {
        let volume = 1000 * CHUNK;
        let flawed = |area, slot, old, new| {
            let (shape, mut bytes) = store(volume, 0..300);
            put(&mut bytes, area, slot, old, new);
            checked(shape, &bytes).expect_err("a flaw")
        };
        let chunks = store_size(volume, None, CHUNK) / CHUNK;
        assert_eq!(flawed(1, 44, 5, 0), "an exception points nowhere (area 1)");
        assert_eq!(flawed(0, 7, 0, 0), "an exception follows the end of the list (area 0)");
        assert_eq!(flawed(1, 50, 500, 400), "an exception follows the end of the list (area 1)");
        assert_eq!(flawed(0, 7, 7, 1), "an exception points to metadata (area 0)");
        assert_eq!(flawed(0, 7, 7, 1 + PER_AREA + 1), "an exception points to metadata (area 0)");
        assert_eq!(flawed(0, 7, 8, 9), "two exceptions are of one chunk (area 0)");
        assert_eq!(flawed(0, 7, 7, 8), "two exceptions point to one chunk (area 0)");
        assert_eq!(
            flawed(0, 7, 1000, 9),
            "an exception is of a chunk behind the end of the volume (area 0)"
        );
        assert_eq!(
            flawed(0, 7, 7, chunks),
            "an exception points behind the end of the store (area 0)"
        );
    }

    #[test]
    fn an_error_of_the_disk_is_none_of_the_store() {
        let (shape, _) = store(1000 * CHUNK, 0..3);
        assert!(check(shape, |_, _: &mut [u8]| Err(io::Error::other("disk"))).is_err());
    }
}
