//! What comes from a source: it is counted, hashed, and the error that ends it is kept.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::model::cancel::Cancel;
use crate::model::digest::Digest;
use crate::template::import::pipeline::cancelled;

/// What came from a source so far.
#[derive(Default)]
pub(crate) struct Meter {
    bytes: AtomicU64,
    /// Why no more came. Decoders put errors of their own in the place of this one.
    failure: Mutex<Option<Error>>,
}

impl Meter {
    /// How many bytes came.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes the error that ended the source.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn stop(&self, error: Error) -> io::Error {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        io::Error::other("the source failed")
    }
}

/// A source that is measured, until somebody cancels that.
pub(crate) struct Metered<'a, R> {
    pub(crate) inner: R,
    pub(crate) meter: &'a Meter,
    /// Makes an error of a failed read.
    pub(crate) failed: &'a (dyn Fn(io::Error) -> Error + Sync),
    pub(crate) cancel: &'a Cancel,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_requested() {
            return Err(self.meter.stop(cancelled()));
        }
        match self.inner.read(buffer) {
            Ok(read) => {
                self.meter.bytes.fetch_add(read as u64, Ordering::Relaxed);
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(self.meter.stop((self.failed)(error))),
        }
    }
}

/// The SHA-256 of bytes while they come.
#[derive(Default)]
pub(crate) struct Sum(Mutex<Sha256>);

impl Sum {
    /// The digest of the bytes that came.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Bytes that are hashed, if that is wanted.
pub(crate) struct Hashed<'a, R> {
    pub(crate) inner: R,
    pub(crate) sum: Option<&'a Sum>,
}

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if let Some(Sum(hash)) = self.sum {
            hash.lock().unwrap_or_else(PoisonError::into_inner).update(&buffer[..read]);
        }
        Ok(read)
    }
}
