//! How the simulated kernel merges COW stores. It knows stores of one area, as tests make them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const CHUNK: u64 = 4096;
/// Bytes of an exception: a chunk of the volume, and the chunk of the store that has its content.
const EXCEPTION: u64 = 16;
/// The first chunk of data, behind the header and the area.
const DATA: u64 = 2;

/// Bytes of data in the store at `path`.
pub(super) fn left(path: &Path) -> u64 {
    let exceptions = File::open(path).and_then(|store| exceptions(&store));
    exceptions.map_or(0, |exceptions| exceptions.len() as u64 * CHUNK)
}

/// Moves the last chunk of the store at `from` into the store at `to`.
///
/// # Panics
///
/// If the files cannot be accessed: they belong to a test.
#[expect(clippy::expect_used, reason = "the files of a test")]
pub(super) fn one_chunk(from: &Path, to: &Path) {
    let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path).expect("a store");
    move_chunk(&open(from), &open(to)).expect("a merge");
}

fn move_chunk(from: &File, to: &File) -> io::Result<()> {
    let source = exceptions(from)?;
    let Some(&[chunk, at]) = source.last() else { return Ok(()) };
    let mut data = [0; CHUNK as usize];
    from.read_exact_at(&mut data, at * CHUNK)?;
    let present = exceptions(to)?;
    match present.iter().find(|[old, _]| *old == chunk) {
        Some([_, at]) => to.write_all_at(&data, at * CHUNK)?,
        None => {
            let count = present.len() as u64;
            let header = [u32::from_le_bytes(*b"SnAp"), 1, 1, 8].map(u32::to_le_bytes);
            to.write_all_at(header.as_flattened(), 0)?;
            to.write_all_at(&data, (DATA + count) * CHUNK)?;
            write_exception(to, count, [chunk, DATA + count])?;
        }
    }
    write_exception(from, source.len() as u64 - 1, [0, 0])
}

fn write_exception(store: &File, index: u64, exception: [u64; 2]) -> io::Result<()> {
    store.write_all_at(exception.map(u64::to_le_bytes).as_flattened(), CHUNK + index * EXCEPTION)
}

fn exceptions(store: &File) -> io::Result<Vec<[u64; 2]>> {
    let mut area = [0; CHUNK as usize];
    store.read_exact_at(&mut area, CHUNK)?;
    let (words, _) = area.as_chunks::<8>();
    let (pairs, _) = words.as_chunks::<2>();
    let pairs = pairs.iter().map(|pair| pair.map(u64::from_le_bytes));
    Ok(pairs.take_while(|[_, at]| *at != 0).collect())
}
