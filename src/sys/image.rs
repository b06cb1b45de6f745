//! Open images: their content at offsets, with its holes.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Seek as _};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use rustix::fs::{Advice, FallocateFlags, SeekFrom};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::sys::file::FileStatus;

/// The mode in which an image is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Reading. The path may lead through symlinks.
    Read,
    /// Reading and writing. A symlink at the end of the path is refused.
    Write,
}

/// Content at offsets, in bytes, with its holes.
pub trait SparseRead: Send + Sync {
    /// Reads at `offset`, up to the length of `buffer`; returns 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Reads at `offset` until `buffer` is full or the content ends; returns the number of bytes
    /// read.
    fn fill_from(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }

    /// Says that `length` bytes at `offset` are about to be read, so that the disk may begin. Changes nothing.
    fn read_ahead(&self, _offset: u64, _length: u64) {}

    /// Where the next data at or after `offset` begins; `u64::MAX` if only a hole follows.
    fn next_data(&self, offset: u64) -> io::Result<u64>;

    /// Where the next hole at or after `offset` begins; `u64::MAX` if that is not known.
    fn next_hole(&self, offset: u64) -> io::Result<u64>;
}

/// An open image, a regular file or a block device.
pub trait ImageFile: SparseRead {
    /// The current status of the image.
    fn status(&self) -> io::Result<FileStatus>;

    /// Writes all of `bytes` at `offset`.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes bytes of the image zeros, and gives back the space that they take if the file system can.
    fn clear(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Truncates the image, or extends it with a hole.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Makes content and length durable.
    fn sync(&self) -> io::Result<()>;

    /// Makes the image read-only, except for processes that already have it open, and makes all of
    /// it durable.
    fn seal(&self) -> io::Result<()>;
}

/// Opens an image without blocking.
pub(super) fn open(path: &Path, mode: OpenMode) -> Result<File> {
    let mut options = OpenOptions::new();
    match mode {
        OpenMode::Read => options.read(true).custom_flags(O_NONBLOCK),
        OpenMode::Write => options.read(true).write(true).custom_flags(O_NOFOLLOW | O_NONBLOCK),
    };
    options.open(path).map_err(|e| Error::io("open image", path.display(), e))
}

impl SparseRead for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn read_ahead(&self, offset: u64, length: u64) {
        // Whatever becomes of it, the read that follows tells.
        let _ = rustix::fs::fadvise(self, offset, NonZeroU64::new(length), Advice::WillNeed);
    }

    fn next_data(&self, offset: u64) -> io::Result<u64> {
        match rustix::fs::seek(self, SeekFrom::Data(offset)) {
            Ok(at) => Ok(at),
            Err(Errno::NXIO) => Ok(u64::MAX),
            // Block devices and file systems without support for holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(offset),
            Err(e) => Err(e.into()),
        }
    }

    fn next_hole(&self, offset: u64) -> io::Result<u64> {
        match rustix::fs::seek(self, SeekFrom::Hole(offset)) {
            Ok(at) => Ok(at),
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NXIO) => Ok(u64::MAX),
            Err(e) => Err(e.into()),
        }
    }
}

impl ImageFile for File {
    fn status(&self) -> io::Result<FileStatus> {
        let found = self.metadata()?;
        let length = match found.file_type().is_block_device() {
            true => (&mut &*self).seek(io::SeekFrom::End(0))?,
            false => found.len(),
        };
        Ok(FileStatus::new(&found, length))
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn clear(&self, offset: u64, length: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(self, flags, offset, length) {
            Err(Errno::OPNOTSUPP) => write_zeros(self, offset, length),
            cleared => Ok(cleared?),
        }
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn seal(&self) -> io::Result<()> {
        self.set_permissions(Permissions::from_mode(0o400))?;
        self.sync_all()
    }
}

fn write_zeros(file: &File, offset: u64, length: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let end = offset + length;
    for at in (offset..end).step_by(ZEROS.len()) {
        let step = usize::try_from(end - at).unwrap_or(usize::MAX).min(ZEROS.len());
        FileExt::write_all_at(file, &ZEROS[..step], at)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleared_bytes_are_zeros_and_the_others_stay() {
        const LENGTH: usize = 300 << 10;
        type Clear = fn(&File, u64, u64) -> io::Result<()>;
        let clear: Clear = |file, offset, length| ImageFile::clear(file, offset, length);
        for clear in [clear, write_zeros] {
            let file = tempfile::tempfile().expect("a file");
            FileExt::write_all_at(&file, &vec![7; LENGTH], 0).expect("write");
            clear(&file, 5000, 200_000).expect("clear");
            let mut bytes = vec![1; LENGTH + 1];
            assert_eq!(file.fill_from(&mut bytes, 0).expect("read"), LENGTH);
            for (range, byte) in [(0..5000, 7), (5000..205_000, 0), (205_000..LENGTH, 7)] {
                assert!(bytes[range.clone()].iter().all(|found| *found == byte), "{range:?}");
            }
        }
    }
}
