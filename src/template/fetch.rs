//! Reading a source into the directory of its import, resumably.
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

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Progress;
use super::copy;
use super::hash::ContentHash;
use super::source::{Identity, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::pool::Pool;
use crate::pool::layout::Layout;
use crate::pool::record;
use crate::sys::CopyMode;
use crate::units::format_size;

const OPERATION: &str = "import";
/// `import.json`: how far an import is, and from which state of its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ImportRecord {
    /// The path it is read from, for people and for [`sweep`](super::sweep).
    pub(super) source: String,
    pub(super) identity: Identity,
    /// When reading began.
    pub(super) started: Timestamp,
    pub(super) state: State,
}

/// How far an import is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum State {
    /// What is before `offset` is durable and hashed. `cloned`: all is there, only the hash is not.
    Reading { offset: u64, hash: String, cloned: bool },
    /// All is durable, and this is its digest.
    Complete { digest: String },
}

/// Reads the source into the directory of its import, from where an interrupted one was, and
/// returns its digest.
pub(super) fn fetch(
    pool: &Pool,
    source: &Source,
    progress: &mut dyn FnMut(Progress),
) -> Result<String> {
    let fetch =
        Fetch { pool, source, directory: pool.layout().import_directory(&source.identity.id()) };
    let outcome = fetch.run(progress);
    // Repeating these goes on from nothing of use, and a full pool wants its room back.
    if let Err(e) = &outcome
        && matches!(e.kind(), ErrorKind::NoSpace | ErrorKind::InUse)
        && let Err(e) = pool.host().remove_directory(&fetch.directory)
    {
        tracing::warn!("the unfinished import is left: {}", e.report());
    }
    outcome
}

struct Fetch<'a> {
    pool: &'a Pool,
    source: &'a Source,
    directory: PathBuf,
}

/// Where reading begins.
struct Start {
    record: ImportRecord,
    offset: u64,
    hash: ContentHash,
    cloned: bool,
}

impl Fetch<'_> {
    fn run(&self, progress: &mut dyn FnMut(Progress)) -> Result<String> {
        let previous = self.previous();
        if let Some(ImportRecord { state: State::Complete { digest }, .. }) = previous {
            return Ok(digest);
        }
        let start = match previous.and_then(resumable) {
            Some(start) => start,
            None => self.begin()?,
        };
        let total = self.source.size;
        if start.offset > 0 {
            tracing::info!(
                "resuming the import of {} at {} of {}",
                self.source.path.display(),
                format_size(start.offset),
                format_size(total)
            );
        }
        progress(Progress { done: start.offset, total });
        let digest = self.read(&start, &mut |done| progress(Progress { done, total }))?;
        let state = State::Complete { digest: digest.clone() };
        self.write_record(&ImportRecord { state, ..start.record })?;
        Ok(digest)
    }

    /// The record of an interrupted import of the same state of the source.
    fn previous(&self) -> Option<ImportRecord> {
        let previous: ImportRecord = record::read(&Layout::import_record(&self.directory))
            .inspect_err(|e| tracing::info!("an unfinished import is of no use: {}", e.report()))
            .ok()??;
        let usable = previous.identity == self.source.identity
            && previous.identity.settled_before(previous.started)
            && self.image().exists();
        usable.then_some(previous)
    }

    /// Begins anew: with a clone where the file system can, with an empty file where not.
    fn begin(&self) -> Result<Start> {
        self.pool.host().remove_directory(&self.directory)?;
        self.check_room_for_all()?;
        let hash = ContentHash::default();
        let state = State::Reading { offset: 0, hash: hash.save(), cloned: false };
        let mut record = ImportRecord {
            source: self.source.path.display().to_string(),
            identity: self.source.identity.clone(),
            started: Timestamp::now(),
            state,
        };
        self.write_record(&record)?;
        let cloned = self.clone_source()?;
        if cloned {
            record.state = State::Reading { offset: 0, hash: hash.save(), cloned };
            self.write_record(&record)?;
        } else {
            let image = self.image();
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&image)
                .map_err(|e| self.write_failed(e))?;
        }
        Ok(Start { record, offset: 0, hash, cloned })
    }

    /// Shares the blocks of the source, if the file system can; true if it did.
    fn clone_source(&self) -> Result<bool> {
        if !self.source.is_regular() {
            return Ok(false);
        }
        let (from, to) = (&self.source.path, self.image());
        if let Err(e) =
            self.pool.host().copy_file(from, &to, self.source.size, CopyMode::Reflink, false)
        {
            tracing::debug!("copying, since cloning is not possible: {}", e.report());
            return Ok(false);
        }
        if Identity::of(from).as_ref() != Some(&self.source.identity) {
            return Err(self.source.changed());
        }
        File::open(&to).and_then(|file| file.sync_all()).map_err(|e| self.write_failed(e))?;
        Ok(true)
    }

    /// Reads, hashes and writes the rest, and makes it durable and read-only.
    fn read(&self, start: &Start, progress: &mut dyn FnMut(u64)) -> Result<String> {
        let image = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.image())
            .map_err(|e| self.write_failed(e))?;
        let size = self.source.size;
        if !start.cloned {
            // What was written after the last checkpoint is written again, on top of holes.
            image
                .set_len(start.offset)
                .and_then(|()| image.set_len(size))
                .map_err(|e| self.write_failed(e))?;
        }
        let job = copy::Job {
            source: if start.cloned { &image } else { &self.source.file },
            size,
            destination: (!start.cloned).then_some(&image),
            start: start.offset,
            hash: start.hash.clone(),
            read_failed: &|e| self.read_failed(e),
            write_failed: &|e| self.write_failed(e),
            room: &|| self.check_room(0),
            checkpoint: &|offset, hash| {
                let state = State::Reading { offset, hash: hash.save(), cloned: start.cloned };
                self.write_record(&ImportRecord { state, ..start.record.clone() })
            },
        };
        let digest = copy::run(job, progress)?;
        if !start.cloned {
            self.source.check_unchanged()?;
        }
        image
            .set_permissions(Permissions::from_mode(0o400))
            .and_then(|()| image.sync_all())
            .map_err(|e| self.write_failed(e))?;
        Ok(digest)
    }

    // --- room ---

    fn check_room_for_all(&self) -> Result<()> {
        // A block device may be mostly zeros: it is told by writing.
        self.check_room(self.source.allocated.unwrap_or(0).min(self.source.size))
    }

    /// Fails if `bytes` more would eat into the reserve, which running volumes live on.
    fn check_room(&self, bytes: u64) -> Result<()> {
        let capacity = self.pool.capacity()?;
        if bytes < capacity.available {
            return Ok(());
        }
        let why = format!(
            "the pool at {} has {} left above its reserve of {}, and {} are needed",
            self.pool.root().display(),
            format_size(capacity.available),
            format_size(capacity.reserve),
            if bytes == 0 { "more".into() } else { format_size(bytes) },
        );
        Err(Error::new(ErrorKind::NoSpace, OPERATION, self.source.path.display(), why)
            .remedy(MORE_ROOM))
    }

    // --- files ---

    fn image(&self) -> PathBuf {
        Layout::import_image(&self.directory)
    }

    fn write_record(&self, record: &ImportRecord) -> Result<()> {
        let path = Layout::import_record(&self.directory);
        self.pool.host().write_record(&path, &record::to_bytes(record))
    }

    fn read_failed(&self, error: io::Error) -> Error {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return self.source.changed();
        }
        Error::io(OPERATION, self.source.path.display(), error)
    }

    fn write_failed(&self, error: io::Error) -> Error {
        let error = Error::io("write template content to", self.image().display(), error);
        if error.kind() == ErrorKind::NoSpace { error.remedy(MORE_ROOM) } else { error }
    }
}

const MORE_ROOM: &str =
    "remove templates or volumes that are not needed, or enlarge the pool's file system";

fn resumable(record: ImportRecord) -> Option<Start> {
    let State::Reading { offset, hash, cloned } = &record.state else { return None };
    let (offset, cloned) = (*offset, *cloned);
    let hash = ContentHash::restore(hash)?;
    Some(Start { record, offset, hash, cloned })
}
