//! One partition of a disk: where it begins and ends, by the disk's first bytes.
//!
//! Pure. Only the start of a disk is looked at, since most sources can be read only once.

mod place;
#[cfg(feature = "formats")]
mod section;
#[cfg(feature = "formats")]
mod table;

use std::io::{self, Read};

use crate::error::{Error, ErrorKind, Result};
use crate::model::partition::Partition;
#[cfg(feature = "formats")]
use crate::model::units::format_size;

pub(crate) use crate::template::import::partition::place::{Beyond, Place};
#[cfg(feature = "formats")]
pub(crate) use crate::template::import::partition::section::Section;

const OPERATION: &str = "import";

/// How many bytes from the start of a disk hold its partition table.
pub(crate) const TABLE: usize = 1 << 20;

/// Finds a partition by the first bytes of the disk, [`TABLE`] or all that it has.
#[cfg(not(feature = "formats"))]
pub(crate) fn find(_: &[u8], _: &Partition, subject: &str) -> Result<Place> {
    let why = "this program was built without the feature `formats` of calf";
    Err(Error::new(ErrorKind::Unsupported, OPERATION, subject, why))
}

/// Finds a partition by the first bytes of the disk, [`TABLE`] or all that it has.
#[cfg(feature = "formats")]
pub(crate) fn find(head: &[u8], wanted: &Partition, subject: &str) -> Result<Place> {
    let refused = |why: String| Error::new(ErrorKind::InvalidArgument, OPERATION, subject, why);
    let entries = table::entries(head).map_err(|why| {
        refused(why).remedy("leave out --partition to import the image as a whole")
    })?;
    let found: Vec<&table::Entry> = match wanted {
        Partition::Number(number) => entries.iter().filter(|e| e.number == *number).collect(),
        Partition::Label(label) => entries.iter().filter(|e| e.label == *label).collect(),
        Partition::Root => table::roots(&entries),
    };
    let why = match found.as_slice() {
        [entry] => return Ok(entry.place),
        [] => format!("no partition of it is `{wanted}`; it has {}", list(&entries)),
        _ => format!("several partitions of it may be `{wanted}`; it has {}", list(&entries)),
    };
    Err(refused(why).remedy("give the partition's number (--partition NUMBER)"))
}

/// The partitions, for people.
#[cfg(feature = "formats")]
fn list(entries: &[table::Entry]) -> String {
    /// Most partitions to list: enough for the disks that people have.
    const MOST: usize = 16;
    let mut told: Vec<String> = entries
        .iter()
        .take(MOST)
        .map(|entry| {
            let size = format_size(entry.place.length);
            match entry.label.as_str() {
                "" => format!("{} ({}, {size})", entry.number, entry.kind.name()),
                label => format!("{} ({label:?}, {}, {size})", entry.number, entry.kind.name()),
            }
        })
        .collect();
    if entries.len() > MOST {
        told.push(format!("{} more", entries.len() - MOST));
    }
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

/// The bytes of one partition of a disk that is read from its start to its end.
pub(crate) struct Window<R> {
    disk: R,
    before: u64,
    left: u64,
}

impl<R: Read> Window<R> {
    pub(crate) fn new(disk: R, place: Place) -> Self {
        Self { disk, before: place.start, left: place.length }
    }

    /// Reads past bytes until `count` of them, or all, are gone. Returns how many were missing.
    fn skip(&mut self, mut count: u64) -> io::Result<u64> {
        let mut buffer = vec![0; 256 << 10];
        while count > 0 {
            let most = buffer.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            match self.disk.read(&mut buffer[..most]) {
                Ok(0) => break,
                Ok(read) => count -= read as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }
}

impl<R: Read> Read for Window<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.before > 0 {
            let before = std::mem::take(&mut self.before);
            if self.skip(before)? > 0 {
                return Err(io::Error::other(Beyond));
            }
        }
        if self.left == 0 {
            // What follows is read for its digest, and for the end of a compressed stream.
            self.skip(u64::MAX)?;
            return Ok(0);
        }
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.disk.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(io::Error::other(Beyond));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(all(test, feature = "formats"))]
mod tests;
