//! An open image on the simulated machine, each of whose reads and writes is a call that can fail; and what
//! the kernel changes in one.

use std::fs::File;
use std::io;

use crate::error::{Error, Result};
use crate::sys::fake::faults::Faults;
use crate::sys::{FileStatus, ImageFile, SparseRead};

pub(super) struct FakeImage {
    faults: Faults,
    file: File,
    /// The status that it keeps, if the test froze it.
    frozen: Option<FileStatus>,
}

impl FakeImage {
    pub(super) fn new(faults: Faults, file: File, frozen: Option<FileStatus>) -> Self {
        Self { faults, file, frozen }
    }

    fn call<T>(
        &self,
        name: &'static str,
        action: impl FnOnce(&dyn ImageFile) -> io::Result<T>,
    ) -> io::Result<T> {
        let act = || -> Result<io::Result<T>> { Ok(action(&self.file)) };
        self.faults.run(name, act).map_err(|injected: Error| io::Error::other(injected))?
    }
}

impl SparseRead for FakeImage {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.call("read_at", |file| file.read_at(buffer, offset))
    }

    fn next_data(&self, offset: u64) -> io::Result<u64> {
        self.call("next_data", |file| file.next_data(offset))
    }

    fn next_hole(&self, offset: u64) -> io::Result<u64> {
        self.call("next_hole", |file| file.next_hole(offset))
    }
}

impl ImageFile for FakeImage {
    fn status(&self) -> io::Result<FileStatus> {
        self.call("status of an image", |file| self.frozen.map_or_else(|| file.status(), Ok))
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.call("write_all_at", |file| file.write_all_at(bytes, offset))
    }

    fn clear(&self, offset: u64, length: u64) -> io::Result<()> {
        self.call("clear", |file| file.clear(offset, length))
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.call("set_length", |file| file.set_length(length))
    }

    fn sync(&self) -> io::Result<()> {
        self.call("sync", |file| file.sync())
    }

    fn seal(&self) -> io::Result<()> {
        self.call("seal", |file| file.seal())
    }
}

/// Writes to the superblock of an ext4 with blocks of 4 KiB how large it is.
pub(super) fn set_ext4_size(start: &mut [u8], size: u64) {
    const BLOCKS: std::ops::Range<usize> = 1024 + 4..1024 + 8;
    let blocks = u32::try_from(size / 4096).unwrap_or(u32::MAX);
    if let Some(field) = start.get_mut(BLOCKS) {
        field.copy_from_slice(&blocks.to_le_bytes());
    }
}
