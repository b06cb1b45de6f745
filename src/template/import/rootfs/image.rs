//! Writing the file system into the image that is made.

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use mkext4::RegionSink;

use crate::error::{Error, Result};
use crate::sys::ImageFile;
use crate::template::import::pipeline;

/// Bytes written between looks at the free space.
const ROOM: u64 = 32 << 20;

/// The first error of those that `mkext4` would make its own of.
#[derive(Default)]
pub(super) struct Cause(Mutex<Option<Error>>);

impl Cause {
    fn keep(&self, error: Error) -> io::Error {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        io::Error::other("it was stopped")
    }

    pub(super) fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The image, an empty file of its full length: zeros need not be written.
pub(super) struct Image<'a> {
    pub(super) file: &'a dyn ImageFile,
    pub(super) cause: &'a Cause,
    /// Makes an error of a failed write.
    pub(super) failed: &'a dyn Fn(io::Error) -> Error,
    /// Whether there is room for more, after this many bytes; and whether the import is to go on.
    pub(super) room: &'a dyn Fn(u64) -> Result<()>,
    pub(super) written: u64,
    pub(super) looked: u64,
}

impl RegionSink for Image<'_> {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.written >= self.looked + ROOM {
            self.looked = self.written;
            (self.room)(self.written).map_err(|error| self.cause.keep(error))?;
        }
        self.written += pipeline::write_sparse(self.file, offset, bytes)
            .map_err(|error| self.cause.keep((self.failed)(error)))?;
        Ok(())
    }

    fn zeros(&mut self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// The content of a file, whose end must not come early.
pub(super) struct Content<'a, R> {
    pub(super) given: R,
    pub(super) cause: &'a Cause,
    /// Makes the error of an early end.
    pub(super) short: &'a dyn Fn() -> Error,
    pub(super) failed: &'a dyn Fn(io::Error) -> Error,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.given.read(buffer) {
            Ok(0) if !buffer.is_empty() => Err(self.cause.keep((self.short)())),
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                Err(self.cause.keep((self.failed)(error)))
            }
            other => other,
        }
    }
}
