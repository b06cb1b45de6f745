//! Reads and mends a COW store from outside, while no device writes to it.

use std::io;
use std::path::Path;

use crate::cow::exceptions::{self, Content, Shape};
use crate::cow::header::StoreHeader;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{Host, ImageFile, OpenMode};

/// Whether a store has everything that the kernel acknowledged.
pub(crate) enum Evidence {
    /// It has.
    Whole(Content),
    /// The file system could not bring writes to the disk after they were acknowledged, and why.
    LostWrites(io::Error),
    /// Its content contradicts itself or the record.
    Damaged(String),
}

/// Looks for evidence that the store at `path` is whole, which is of a volume of `size` bytes with chunks of
/// `chunk_size` bytes. Makes it durable first.
pub(crate) fn examine(
    host: &dyn Host,
    path: &Path,
    size: u64,
    chunk_size: u64,
) -> Result<Evidence> {
    let store = host.open_image(path, OpenMode::Write)?;
    if let Err(error) = store.sync() {
        return Ok(Evidence::LostWrites(error));
    }
    let failed = |e| Error::io("read", path.display(), e);
    let length = store.status().map_err(failed)?.length;
    match header(&*store).map_err(failed)? {
        StoreHeader::New => return Ok(Evidence::Damaged("it is blank".to_owned())),
        StoreHeader::Invalid => {}
        StoreHeader::Valid { chunk_size: found } if found == chunk_size => {}
        StoreHeader::Valid { chunk_size: found } => {
            return Ok(Evidence::Damaged(format!("it has chunks of {found} bytes")));
        }
        StoreHeader::Foreign => {
            return Ok(Evidence::Damaged("it does not start as a COW store does".to_owned()));
        }
    }
    let shape = Shape { volume: size, store: length, chunk: chunk_size };
    let fill = |at, buffer: &mut [u8]| match store.fill_from(buffer, at)? {
        filled if filled == buffer.len() => Ok(()),
        _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
    };
    Ok(match exceptions::check(shape, fill).map_err(failed)? {
        Ok(content) => Evidence::Whole(content),
        Err(flaw) => Evidence::Damaged(flaw.to_string()),
    })
}

/// Marks a store that the kernel gave up as valid, durably. A valid one stays as it is.
pub(crate) fn revive(host: &dyn Host, path: &Path) -> Result<()> {
    let failed = |e| Error::io("mark as valid", path.display(), e);
    let store = host.open_image(path, OpenMode::Write)?;
    match header(&*store).map_err(failed)? {
        StoreHeader::Invalid => {
            store.write_all_at(&StoreHeader::VALID, StoreHeader::VALID_OFFSET).map_err(failed)?;
            store.sync().map_err(failed)
        }
        StoreHeader::Valid { .. } => Ok(()),
        StoreHeader::New | StoreHeader::Foreign => Err(Error::new(
            ErrorKind::Corrupt,
            "mark as valid",
            path.display(),
            "it is no COW store",
        )),
    }
}

fn header(store: &dyn ImageFile) -> io::Result<StoreHeader> {
    let mut bytes = [0; StoreHeader::LENGTH];
    store.fill_from(&mut bytes, 0)?;
    Ok(StoreHeader::parse(bytes))
}
