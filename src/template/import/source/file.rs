//! Reading a file into the directory of its import, resumably.
//!
//! ```text
//!            ┌── clone where the file system can ──┐
//!   begin ───┤                                     ├── read, hash, checkpoints ─▸ complete
//!            └── empty file where it cannot ───────┘         ▴
//!   an interrupted import of the same state of the source ───┘
//! ```
//!
//! Each state is in `import.json` before it is relied on, so a kill at any instant loses at most
//! what was read since the last checkpoint. To be called with the import locked.

use std::io;

use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Result};
use crate::model::cancel::Cancel;
use crate::model::digest::Digest;
use crate::model::units::format_size;
use crate::pool::PoolDir;
use crate::pool::room::RoomClaim;
use crate::sys::{CopyMode, Flush, OpenMode};
use crate::template::import::files::{self, PEEK};
use crate::template::import::format::HEAD;
use crate::template::import::hash::ContentHash;
use crate::template::import::pipeline::Input;
use crate::template::import::slice::Slice;
use crate::template::import::source::{Identity, Source};
use crate::template::import::staging::Staging;
use crate::template::import::state::{ImportRecord, Origin, Start, State};
use crate::template::import::stream::{self, Stream};
use crate::template::import::{disk, pipeline};
use crate::template::spec::{ImportFormat, ImportSpec, Progress};

const OPERATION: &str = "import";

/// Reads the source into the directory of its import. Returns the digest of the content, and what it was
/// made of.
pub(crate) fn read(
    pool: &PoolDir,
    source: &Source,
    spec: &ImportSpec,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Digest, Origin)> {
    match files::format(&peek(source)?, spec, &source.path.display().to_string())? {
        // The members of its archive are read where they are, so it is unpacked first.
        Some(ImportFormat::Oci) if source.packing.is_some() => {
            return read_once(pool, source, Some(ImportFormat::Oci), spec, progress);
        }
        Some(format) => return files::read_file(pool, source, format, spec, progress),
        None => {}
    }
    if let Some(header) = &source.disk {
        return disk::read_file(header, pool, source, spec, progress);
    }
    if source.packing.is_some() || spec.partition.is_some() {
        return read_once(pool, source, None, spec, progress);
    }
    let digest = fetch(pool, source, &spec.cancel, progress)?;
    Ok((digest, Origin::File(source.identity.clone())))
}

/// Enough of the source to see what is in it.
fn peek(source: &Source) -> Result<Vec<u8>> {
    let mut prefix = vec![0; if source.packing.is_some() { PEEK } else { HEAD }];
    let filled = source.file.fill_from(&mut prefix, 0);
    prefix.truncate(filled.map_err(|e| Error::io(OPERATION, source.path.display(), e))?);
    Ok(prefix)
}

/// Reads a source of which the content is made, from its start. `format` is what it holds, if it is no disk.
fn read_once(
    pool: &PoolDir,
    source: &Source,
    format: Option<ImportFormat>,
    spec: &ImportSpec,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Digest, Origin)> {
    let stream = Stream {
        shown: source.path.display().to_string(),
        origin: Origin::File(source.identity.clone()),
        bytes: Box::new(Slice::new(&*source.file, 0, source.size)),
        size: Some(source.size),
        packing: source.packing,
        partition: spec.partition.as_ref(),
        source_digest: None,
        failed: &|error| Error::io(OPERATION, source.path.display(), error),
        check: &|| source.check_unchanged(),
    };
    match format {
        Some(format) => files::read_stream(pool, stream, format, spec, progress),
        None => stream::read(pool, stream, &spec.cancel, progress),
    }
}

/// Reads a raw image, from where an interrupted import of it was, and returns its digest.
fn fetch(
    pool: &PoolDir,
    source: &Source,
    cancel: &Cancel,
    progress: &mut dyn FnMut(Progress),
) -> Result<Digest> {
    let origin = Origin::File(source.identity.clone());
    let fetch =
        Fetch { staging: Staging::new(pool, &origin, source.path.display()), source, cancel };
    let outcome = fetch.run(progress);
    // Repeating these goes on from nothing of use, and a full pool wants its room back.
    if let Err(e) = &outcome
        && matches!(e.kind(), ErrorKind::NoSpace | ErrorKind::InUse)
    {
        fetch.staging.discard();
    }
    outcome
}

struct Fetch<'a> {
    staging: Staging<'a>,
    source: &'a Source,
    cancel: &'a Cancel,
}

impl Fetch<'_> {
    fn run(&self, progress: &mut dyn FnMut(Progress)) -> Result<Digest> {
        let previous = self.previous(progress)?;
        if let Some(ImportRecord { state: State::Complete { digest }, .. }) = previous {
            return Ok(digest);
        }
        let size = self.source.size;
        let total = Some(size);
        let (start, mut room) = match previous.and_then(ImportRecord::resume) {
            Some(start) => {
                let left = if start.cloned { 0 } else { size - start.offset };
                (start, self.staging.pool.room().reclaim(left.min(self.allocated())))
            }
            None => self.begin()?,
        };
        if start.offset > 0 {
            tracing::info!(
                "resuming the import of {} at {} of {}",
                self.source.path.display(),
                format_size(start.offset),
                format_size(size)
            );
        }
        progress(Progress { done: start.offset, total });
        let digest = self.read(&start, &mut |done| {
            room.shrink_to(size - done);
            progress(Progress { done, total });
        })?;
        let state = State::Complete { digest: digest.clone() };
        self.staging.write_record(&ImportRecord { state, ..start.record })?;
        Ok(digest)
    }

    /// The record of an interrupted import of the same state of the source.
    fn previous(&self, progress: &mut dyn FnMut(Progress)) -> Result<Option<ImportRecord>> {
        let previous = self.staging.previous()?.filter(|previous| {
            previous.identity == Origin::File(self.source.identity.clone())
                && self.source.identity.settled_before(previous.started)
        });
        let Some(previous) = previous else { return Ok(None) };
        let goes_on = self.source.is_on_file_system_of(self.staging.pool)?
            || self.begins_as(&previous, progress)?;
        Ok(goes_on.then_some(previous))
    }

    /// Whether the source still starts with the bytes that were read before. Reads them again, and
    /// writes nothing.
    fn begins_as(
        &self,
        previous: &ImportRecord,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<bool> {
        let size = self.source.size;
        let total = Some(size);
        let (offset, expected) = match &previous.state {
            State::Complete { digest } => (size, digest.clone()),
            // A clone has all of the source, but only a part was hashed.
            State::Reading { cloned: true, .. } | State::Fetched { .. } => return Ok(false),
            State::Reading { offset, hash, .. } => match ContentHash::restore(hash) {
                Some(hash) => (*offset, hash.finish()),
                None => return Ok(false),
            },
        };
        let job = pipeline::Job {
            source: Input::File(&*self.source.file),
            size: Some(offset),
            destination: None,
            start: 0,
            hash: ContentHash::default(),
            read_failed: &|e| self.read_failed(e),
            write_failed: &|e| self.staging.write_failed(e),
            cancel: self.cancel.clone(),
            room: &|_| Ok(()),
            checkpoint: &|_, _| Ok(()),
        };
        let read = pipeline::run(job, &mut |done| progress(Progress { done, total }))?;
        Ok(read.digest == expected)
    }

    /// Begins anew: with a clone where the file system can, with an empty file where not.
    fn begin(&self) -> Result<(Start, RoomClaim<'_>)> {
        self.staging.clear()?;
        let room = self.staging.claim_room(self.allocated())?;
        let hash = ContentHash::default();
        let state = State::Reading { offset: 0, hash: hash.save(), cloned: false };
        let mut record = ImportRecord {
            source: self.source.path.display().to_string(),
            identity: Origin::File(self.source.identity.clone()),
            started: Timestamp::now(),
            state,
        };
        self.staging.write_record(&record)?;
        let cloned = self.clone_source()?;
        if cloned {
            record.state = State::Reading { offset: 0, hash: hash.save(), cloned };
            self.staging.write_record(&record)?;
        } else {
            self.staging.create_image()?;
        }
        Ok((Start { record, offset: 0, hash, cloned }, room))
    }

    /// What a copy takes up at most. A block device may be mostly zeros: it is told by writing.
    fn allocated(&self) -> u64 {
        self.source.allocated.unwrap_or(0).min(self.source.size)
    }

    /// Shares the blocks of the source, if the file system can; true if it did.
    fn clone_source(&self) -> Result<bool> {
        if !self.source.is_regular() {
            return Ok(false);
        }
        let (from, to) = (&self.source.path, self.staging.image());
        let host = self.staging.pool.host();
        if let Err(e) = host.copy_file(from, &to, self.source.size, CopyMode::Reflink, Flush::Later)
        {
            tracing::debug!("copying, since cloning is not possible: {}", e.report());
            return Ok(false);
        }
        if Identity::of(host, from)?.as_ref() != Some(&self.source.identity) {
            return Err(self.source.changed());
        }
        let clone = host.open_image(&to, OpenMode::Write)?;
        clone.sync().map_err(|e| self.staging.write_failed(e))?;
        Ok(true)
    }

    /// Reads, hashes and writes the rest, and makes it durable and read-only.
    fn read(&self, start: &Start, progress: &mut dyn FnMut(u64)) -> Result<Digest> {
        let staging = &self.staging;
        let image = staging.open_image()?;
        let size = self.source.size;
        if !start.cloned {
            staging.rewind(&*image, start.offset, size)?;
        }
        let job = pipeline::Job {
            source: Input::File(if start.cloned { &*image } else { &*self.source.file }),
            size: Some(size),
            destination: (!start.cloned).then_some(&*image),
            start: start.offset,
            hash: start.hash.clone(),
            read_failed: &|e| self.read_failed(e),
            write_failed: &|e| staging.write_failed(e),
            cancel: self.cancel.clone(),
            room: &|_| staging.check_room(),
            checkpoint: &|offset, hash| {
                let state = State::Reading { offset, hash: hash.save(), cloned: start.cloned };
                staging.write_record(&ImportRecord { state, ..start.record.clone() })
            },
        };
        let digest = pipeline::run(job, progress)?.digest;
        if !start.cloned {
            self.source.check_unchanged()?;
        }
        staging.seal(&*image)?;
        Ok(digest)
    }

    fn read_failed(&self, error: io::Error) -> Error {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return self.source.changed();
        }
        Error::io(OPERATION, self.source.path.display(), error)
    }
}
