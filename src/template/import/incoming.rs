//! A source that is read once, from its first byte to its last.
//!
//! ```text
//! source ──▸ hash, count ──▸ unpack ──▸ limit ──▸ a file in the directory of the import
//! ```

use std::io::{self, Read};
use std::path::Path;
use std::sync::Mutex;

use crate::error::{Error, ErrorKind, Result};
use crate::model::cancel::Cancel;
use crate::model::digest::Digest;
use crate::model::limits::MAX_SIZE;
use crate::model::units::format_size;
use crate::sys::{ImageFile, OpenMode};
use crate::template::import::format::Packing;
use crate::template::import::hash::ContentHash;
use crate::template::import::meter::{Hashed, Meter, Metered, Sum};
use crate::template::import::partition::Beyond;
use crate::template::import::ratio::check_ratio;
use crate::template::import::staging::Staging;
use crate::template::import::{pipeline, unpack};
use crate::template::spec::Progress;

const OPERATION: &str = "import";

/// How to read a source, and what came of it so far.
pub(crate) struct Incoming<'a> {
    /// The source, for people.
    shown: &'a str,
    /// Its size in bytes, where that is known.
    size: Option<u64>,
    /// How it is compressed, if it is to be unpacked.
    packing: Option<Packing>,
    /// Makes an error of a failed read.
    failed: &'a (dyn Fn(io::Error) -> Error + Sync),
    cancel: &'a Cancel,
    meter: Meter,
    sum: Sum,
}

impl<'a> Incoming<'a> {
    pub(crate) fn new(
        shown: &'a str,
        size: Option<u64>,
        packing: Option<Packing>,
        failed: &'a (dyn Fn(io::Error) -> Error + Sync),
        cancel: &'a Cancel,
    ) -> Self {
        let (meter, sum) = (Meter::default(), Sum::default());
        Self { shown, size, packing, failed, cancel, meter, sum }
    }

    /// The content of the source, whose bytes are these.
    pub(crate) fn content<'b>(
        &'b self,
        bytes: impl Read + Send + 'b,
    ) -> Result<Box<dyn Read + Send + 'b>> {
        let bytes = Hashed { inner: bytes, sum: Some(&self.sum) };
        let (meter, failed, cancel) = (&self.meter, self.failed, self.cancel);
        let bytes = Metered { inner: bytes, meter, failed, cancel };
        let inner: Box<dyn Read + Send + 'b> = match self.packing {
            None => Box::new(bytes),
            Some(packing) => {
                unpack::decoder(packing, bytes).map_err(|error| self.explain(error))?
            }
        };
        Ok(Box::new(Limited { inner, left: MAX_SIZE }))
    }

    /// The error of a failed read of the content.
    pub(crate) fn explain(&self, error: io::Error) -> Error {
        let read = self.meter.bytes();
        self.meter.failure().unwrap_or_else(|| unreadable(error, self.packing, read, self.shown))
    }

    /// Writes content to a file of the import. `later` is how much there is to do afterwards, in bytes.
    pub(crate) fn copy(
        &self,
        content: Box<dyn Read + Send + '_>,
        staging: &Staging<'_>,
        path: &Path,
        later: u64,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Box<dyn ImageFile>, pipeline::Whole)> {
        let size = self.size.unwrap_or(0);
        let mut room = staging.claim_room(size)?;
        staging.create(path)?;
        let file = staging.pool.host().open_image(path, OpenMode::Write)?;
        let job = pipeline::Job {
            source: pipeline::Input::Stream(Mutex::new(content)),
            size: None,
            destination: Some(&*file),
            start: 0,
            hash: ContentHash::default(),
            read_failed: &|error| self.explain(error),
            write_failed: &|error| staging.write_failed(error),
            cancel: self.cancel.clone(),
            room: &|written| {
                if self.packing.is_some() {
                    check_ratio(written, self.meter.bytes(), self.shown)?;
                }
                staging.check_room()
            },
            checkpoint: &|_, _| Ok(()),
        };
        let total = self.size.map(|size| size + later);
        progress(Progress { done: 0, total });
        let whole = pipeline::run(job, &mut |_| {
            let done = self.meter.bytes();
            room.shrink_to(size.saturating_sub(done));
            progress(Progress { done, total });
        })?;
        // Zeros at the end were not written.
        staging.rewind(&*file, whole.size, whole.size)?;
        Ok((file, whole))
    }

    /// How many bytes came from the source.
    pub(crate) fn bytes(&self) -> u64 {
        self.meter.bytes()
    }

    /// The SHA-256 of what came from the source.
    pub(crate) fn digest(&self) -> Digest {
        self.sum.digest()
    }
}

/// The error for bytes that came, but are no content. `read` is how many did.
pub(crate) fn unreadable(
    error: io::Error,
    packing: Option<Packing>,
    read: u64,
    shown: &str,
) -> Error {
    if error.get_ref().is_some_and(|cause| cause.is::<TooLarge>()) {
        let why =
            format!("its content is larger than {}, the largest volume", format_size(MAX_SIZE));
        return Error::new(ErrorKind::OutOfRange, OPERATION, shown, why)
            .remedy("give a smaller image");
    }
    if let Some(cut) = error.get_ref().and_then(|cause| cause.downcast_ref::<Beyond>()) {
        return Error::new(ErrorKind::InvalidArgument, OPERATION, shown, cut.to_string())
            .remedy("make or copy the image again, and compare its SHA-256");
    }
    match packing {
        Some(packing) => unpack::explain(packing, &error, read, shown),
        None => Error::io(OPERATION, shown, error),
    }
}

/// Content that fails once it is larger than any volume.
struct Limited<R> {
    inner: R,
    left: u64,
}

/// The error of [`Limited`].
#[derive(Debug)]
struct TooLarge;

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("too large")
    }
}

impl std::error::Error for TooLarge {}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| io::Error::other(TooLarge))?;
        Ok(read)
    }
}
