//! Content that is made while its source is read once, from its first byte to its last: a compressed
//! file, a partition of a disk, standard input.
//!
//! ```text
//! source ──▸ count, hash ──▸ unpack ──▸ limit ──▸ partition ──▸ pipeline: hash, write
//! ```
//!
//! Two digests come of it: that of the source, as publishers give it, and that of the content. What was
//! interrupted begins anew, since the state of a decoder cannot be kept. To be called with the import
//! locked.

use std::io::{self, Cursor, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::model::cancel::Cancel;
use crate::model::digest::Digest;
use crate::model::limits::MAX_SIZE;
use crate::model::partition::Partition;
use crate::model::units::format_size;
use crate::pool::PoolDir;
use crate::sys::OpenMode;
use crate::template::import::disk::{self, Making};
use crate::template::import::format::{self, HEAD, Packing};
use crate::template::import::hash::ContentHash;
use crate::template::import::partition::{self, Beyond, TABLE, Window};
use crate::template::import::ratio::check_ratio;
use crate::template::import::staging::Staging;
use crate::template::import::state::{self, Derived, ImportRecord, Origin, State};
use crate::template::import::{inspection, pipeline, qcow2, unpack};
use crate::template::spec::Progress;

const OPERATION: &str = "import";

/// A source, and how to read it.
pub(crate) struct Stream<'a> {
    /// The source, for people.
    pub(crate) shown: String,
    pub(crate) origin: Origin,
    pub(crate) bytes: Box<dyn Read + Send + 'a>,
    /// Size of the source, where it is known.
    pub(crate) size: Option<u64>,
    pub(crate) packing: Option<Packing>,
    /// What of the image; `None` for all of it.
    pub(crate) partition: Option<&'a Partition>,
    /// Makes an error of a failed read.
    pub(crate) failed: &'a (dyn Fn(io::Error) -> Error + Sync),
    /// Asked at the end: fails if the source changed meanwhile.
    pub(crate) check: &'a dyn Fn() -> Result<()>,
}

/// Reads the stream to its end into the directory of its import. Returns the digest of the content, and
/// what it was made of.
pub(crate) fn read(
    pool: &PoolDir,
    stream: Stream<'_>,
    cancel: &Cancel,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Digest, Origin)> {
    let derived = Derived::new(stream.origin.clone(), stream.partition);
    let staging = Staging::new(pool, &Origin::Derived(derived.clone()), &stream.shown);
    let outcome = make(&staging, derived, stream, cancel, progress);
    outcome.map_err(|error| staging.give_up(error))
}

fn make(
    staging: &Staging<'_>,
    derived: Derived,
    stream: Stream<'_>,
    cancel: &Cancel,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Digest, Origin)> {
    let Stream { shown, bytes, size, packing, partition, failed, check, .. } = stream;
    let meter = Meter::default();
    let read_failed = |error: io::Error| match meter.failure().take() {
        Some(cause) => failed(cause),
        None => unreadable(error, packing, meter.bytes(), &shown),
    };
    let metered = Metered { inner: bytes, meter: &meter };
    let image: Box<dyn Read + Send + '_> = match packing {
        None => Box::new(metered),
        Some(packing) => unpack::decoder(packing, metered).map_err(&read_failed)?,
    };
    let mut image = Limited { inner: image, left: MAX_SIZE };
    let subject = if packing.is_some() { format!("{shown}, unpacked") } else { shown.clone() };
    // Before anything is written.
    let mut head = Vec::new();
    let length = if partition.is_some() { TABLE } else { HEAD };
    let read = (&mut image).take(length as u64).read_to_end(&mut head);
    let disk = qcow2::header(&head, &subject)?;
    if disk.is_none() {
        format::check_head(&head[..head.len().min(HEAD)], &subject)?;
    }
    read.map_err(&read_failed)?;
    let wanted = partition.filter(|_| disk.is_none());
    let place = wanted.map(|wanted| partition::find(&head, wanted, &subject)).transpose()?;
    let whole = Cursor::new(head).chain(image);
    let (content, subject): (Box<dyn Read + Send + '_>, _) = match (place, wanted) {
        (Some(place), Some(wanted)) => {
            (Box::new(Window::new(whole, place)), format!("{subject}, partition {wanted}"))
        }
        _ => (Box::new(whole), subject),
    };

    staging.clear()?;
    let mut room = staging.claim_room(size.unwrap_or(0))?;
    let record = ImportRecord {
        source: shown.clone(),
        identity: Origin::Derived(derived.clone()),
        started: Timestamp::now(),
        state: State::Reading { offset: 0, hash: ContentHash::default().save(), cloned: false },
    };
    staging.write_record(&record)?;
    let path = if disk.is_some() { staging.source() } else { staging.image() };
    staging.create(&path)?;
    let image = staging.pool.host().open_image(&path, OpenMode::Write)?;
    let job = pipeline::Job {
        source: pipeline::Input::Stream(Mutex::new(content)),
        size: None,
        destination: Some(&*image),
        start: 0,
        hash: ContentHash::default(),
        read_failed: &read_failed,
        write_failed: &|error| staging.write_failed(error),
        cancel: cancel.clone(),
        room: &|written| {
            if packing.is_some() {
                check_ratio(written, meter.bytes(), &shown)?;
            }
            staging.check_room()
        },
        checkpoint: &|_, _| Ok(()),
    };
    // A disk is made in a second pass.
    let total = size.map(|size| size + disk.as_ref().map_or(0, qcow2::Header::disk_size));
    progress(Progress { done: 0, total });
    let whole = pipeline::run(job, &mut |_| {
        let done = meter.bytes();
        room.shrink_to(size.unwrap_or(0).saturating_sub(done));
        progress(Progress { done, total });
    })?;
    check()?;
    if let Some(header) = disk {
        let source_size = meter.bytes();
        let making = Making {
            staging,
            derived,
            record,
            source_size,
            source_digest: meter.finish(),
            cancel,
            check: &|| Ok(()),
        };
        return disk::make_of_copy(&header, making, &subject, partition, &mut |done| {
            progress(Progress { done: source_size + done, total });
        });
    }
    staging.rewind(&*image, whole.size, whole.size)?;
    inspection::inspect(&*image, whole.size, &subject)?;
    staging.seal(&*image)?;
    let read = state::Read { size: whole.size, source_digest: meter.finish() };
    let identity = Origin::Derived(Derived { read: Some(read), ..derived });
    let state = State::Complete { digest: whole.digest.clone() };
    staging.write_record(&ImportRecord { identity: identity.clone(), state, ..record })?;
    Ok((whole.digest, identity))
}

/// The error for bytes that came, but are no content.
fn unreadable(error: io::Error, packing: Option<Packing>, read: u64, shown: &str) -> Error {
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

/// What came from a source so far.
#[derive(Default)]
struct Meter {
    bytes: AtomicU64,
    hash: Mutex<Sha256>,
    /// Why no more came, if so.
    failure: Mutex<Option<io::Error>>,
}

impl Meter {
    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn failure(&self) -> MutexGuard<'_, Option<io::Error>> {
        self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn hash(&self) -> MutexGuard<'_, Sha256> {
        self.hash.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn finish(&self) -> Digest {
        Digest::of(self.hash().clone())
    }
}

/// A source whose bytes are counted and hashed. Decoders put errors of their own in the place of those of
/// the source, which are kept for that reason.
struct Metered<'a, R> {
    inner: R,
    meter: &'a Meter,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(read) => {
                self.meter.hash().update(&buffer[..read]);
                self.meter.bytes.fetch_add(read as u64, Ordering::Relaxed);
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                *self.meter.failure() = Some(error);
                Err(io::Error::other("the source failed"))
            }
        }
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
