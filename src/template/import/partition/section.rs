//! One partition of a disk that can be read at any offset.

use std::io;

use crate::sys::SparseRead;
use crate::template::import::partition::place::{Beyond, Place};

/// The bytes of a disk that are in one place.
pub(crate) struct Section<D> {
    disk: D,
    place: Place,
}

impl<D: SparseRead> Section<D> {
    /// A part of a disk of `size` bytes.
    pub(crate) fn new(disk: D, size: u64, place: Place) -> io::Result<Self> {
        match place.start.checked_add(place.length) {
            Some(end) if end <= size => Ok(Self { disk, place }),
            _ => Err(io::Error::other(Beyond)),
        }
    }

    /// Size of the part, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.place.length
    }

    /// An offset of the disk as one of the part; `u64::MAX` stays.
    fn within(&self, at: u64) -> u64 {
        if at == u64::MAX { at } else { at - self.place.start }
    }
}

impl<D: SparseRead> SparseRead for Section<D> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.place.length.saturating_sub(offset);
        match buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX)) {
            0 => Ok(0),
            most => self.disk.read_at(&mut buffer[..most], self.place.start + offset),
        }
    }

    fn next_data(&self, offset: u64) -> io::Result<u64> {
        self.disk.next_data(self.place.start.saturating_add(offset)).map(|at| self.within(at))
    }

    fn next_hole(&self, offset: u64) -> io::Result<u64> {
        self.disk.next_hole(self.place.start.saturating_add(offset)).map(|at| self.within(at))
    }
}
