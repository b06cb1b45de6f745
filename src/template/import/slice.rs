//! A part of a file, read in order.

use std::io;

use crate::sys::ImageFile;

/// Reads a file from an offset on.
pub(crate) struct Slice<'a> {
    file: &'a dyn ImageFile,
    at: u64,
    end: u64,
}

impl<'a> Slice<'a> {
    /// The `size` bytes at `start`.
    pub(crate) fn new(file: &'a dyn ImageFile, start: u64, size: u64) -> Self {
        Self { file, at: start, end: start.saturating_add(size) }
    }
}

impl io::Read for Slice<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = (self.end - self.at).min(buffer.len() as u64) as usize;
        let read = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
