//! The COW store that an import makes: a copy of that of the base, or a new one, to which the stream is applied.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use crate::cow::exceptions::{Shape, walk};
use crate::cow::header::StoreHeader;
use crate::cow::listing::{self, Listing};
use crate::error::{Error, ErrorKind, Result};
use crate::model::export::SnapshotImportSpec;
use crate::pool::{MORE_ROOM, PoolDir};
use crate::snapshot::import::refusal::{OPERATION, cancelled};
use crate::snapshot::stream::{Head, Run, What};
use crate::sys::{Flush, ImageFile, OpenMode};
use crate::volume::machine::duplicate;
use crate::volume::start::Start;

/// Chunks between two looks at the pool's free space and at whether the caller goes on.
const STEP: u64 = 1024;

/// A store in the making.
pub(super) struct Store<'a> {
    pool: &'a PoolDir,
    file: Box<dyn ImageFile>,
    path: &'a Path,
    spec: &'a SnapshotImportSpec,
    /// Size of the volume, or of that of the base if it is larger.
    volume: u64,
    chunk: u64,
    /// What the base has, in ascending order: the chunk of the volume, and that of the store.
    base: Vec<(u64, u64)>,
    /// Chunks of the volume that the base has and the snapshot has not.
    removed: BTreeSet<u64>,
    listing: Listing,
}

impl<'a> Store<'a> {
    /// Begins a store at `path`, of the snapshot that `spec` names and `head` describes.
    pub(super) fn begin(
        pool: &'a PoolDir,
        path: &'a Path,
        spec: &'a SnapshotImportSpec,
        head: &Head,
        base: Option<&Start>,
    ) -> Result<Self> {
        let (size, chunk) = (head.size, head.chunk_size);
        let volume = base.map_or(size, |base| size.max(base.content.size));
        // A store that was never used has nothing.
        let base = base.filter(|base| base.content.stored > 0);
        match base {
            // Nothing behind what the kernel knows of becomes part of it.
            Some(base) => duplicate::copy_frozen(pool, &base.store, path, base.content.stored)?,
            None => pool.host().create_file(path, 0, Flush::Later)?,
        }
        let file = pool.host().open_image(path, OpenMode::Write)?;
        let exceptions = match base {
            Some(base) => exceptions(&*file, path, base)?,
            None => Vec::new(),
        };
        let listing = Listing::of(chunk, &exceptions);
        let mut base = exceptions;
        base.sort_unstable();
        // A base that is larger may have more.
        let end = size.div_ceil(chunk);
        let removed = base.iter().map(|(old, _)| *old).filter(|old| *old >= end).collect();
        Ok(Self { pool, file, path, spec, volume, chunk, base, removed, listing })
    }

    /// Applies runs, and the content of those with data.
    pub(super) fn apply(&mut self, runs: &[Run], content: &[u8]) -> Result<()> {
        let mut content = content;
        for run in runs {
            if run.what == What::Template {
                self.remove(*run);
                continue;
            }
            let mut at = run.first;
            while at < run.end() {
                let step = STEP.min(run.end() - at);
                let length = match run.what {
                    What::Data => step * self.chunk,
                    _ => 0,
                };
                self.look(length)?;
                let (data, rest) = content
                    .split_at(content.len().min(usize::try_from(length).unwrap_or(usize::MAX)));
                content = rest;
                self.put(at, step, data).map_err(|e| self.failed(e))?;
                at += step;
            }
        }
        Ok(())
    }

    /// Completes the store, which is not durable yet.
    pub(super) fn finish(mut self) -> Result<()> {
        self.complete().map_err(|e| self.failed(e))
    }

    fn complete(&mut self) -> io::Result<()> {
        let file = &*self.file;
        let mut write = |at: u64, bytes: &[u8]| file.write_all_at(bytes, at);
        let length = self.listing.finish(&mut write)?;
        file.set_length(length)?;
        if !self.removed.is_empty() {
            let shape = Shape { volume: self.volume, store: length, chunk: self.chunk };
            let all = list(file, shape)?.map_err(io::Error::other)?;
            for free in listing::remove(self.chunk, &all, &self.removed, &mut write)? {
                file.clear(free * self.chunk, self.chunk)?;
            }
        }
        file.write_all_at(&StoreHeader::valid(self.chunk), 0)
    }

    /// Refuses to go on without room for `length` bytes beside the pool's reserve, or against the caller's will.
    fn look(&self, length: u64) -> Result<()> {
        if self.spec.cancel.is_requested() {
            return Err(cancelled(self.spec));
        }
        self.pool.require_free(OPERATION, &self.spec.name, length + self.chunk)
    }

    /// Gives chunks their content, or zeros without `data`.
    fn put(&mut self, first: u64, count: u64, data: &[u8]) -> io::Result<()> {
        let file = &*self.file;
        let mut write = |at: u64, bytes: &[u8]| file.write_all_at(bytes, at);
        let mut target = Target { file, data, chunk: self.chunk, done: 0, run: None };
        for number in first..first + count {
            let found = self.base.binary_search_by_key(&number, |(old, _)| *old);
            let (place, is_new) = match found {
                Ok(at) => (self.base[at].1, false),
                Err(_) => (self.listing.add(number, &mut write)?, true),
            };
            target.put(place, is_new)?;
        }
        target.flush()
    }

    /// Takes chunks that the base has out of the snapshot.
    fn remove(&mut self, run: Run) {
        let first = self.base.partition_point(|(old, _)| *old < run.first);
        let removed = self.base[first..].iter().map(|(old, _)| *old);
        self.removed.extend(removed.take_while(|old| *old < run.end()));
    }

    fn failed(&self, error: io::Error) -> Error {
        let error = Error::io("write snapshot data to", self.path.display(), error);
        if error.kind() == ErrorKind::NoSpace { error.remedy(MORE_ROOM) } else { error }
    }
}

/// Chunks that are written together if they follow each other in the store.
struct Target<'a> {
    file: &'a dyn ImageFile,
    data: &'a [u8],
    chunk: u64,
    /// Bytes of the data that have their place.
    done: usize,
    /// Chunks of the store that are to be written: the first, how many, and whether there is nothing yet.
    run: Option<(u64, u64, bool)>,
}

impl Target<'_> {
    fn put(&mut self, place: u64, is_new: bool) -> io::Result<()> {
        match &mut self.run {
            Some((first, count, new)) if *first + *count == place && *new == is_new => *count += 1,
            _ => {
                self.flush()?;
                self.run = Some((place, 1, is_new));
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some((first, count, is_new)) = self.run.take() else { return Ok(()) };
        let (at, length) = (first * self.chunk, count * self.chunk);
        if self.data.is_empty() {
            // A chunk that nothing was written to is a hole.
            return if is_new { Ok(()) } else { self.file.clear(at, length) };
        }
        let end = self.done + usize::try_from(length).unwrap_or(usize::MAX);
        let bytes = self.data.get(self.done..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.done = end;
        self.file.write_all_at(bytes, at)
    }
}

/// The exceptions of the copy of a snapshot's store.
fn exceptions(file: &dyn ImageFile, path: &Path, base: &Start) -> Result<Vec<(u64, u64)>> {
    let content = &base.content;
    let shape = Shape { volume: content.size, store: content.stored, chunk: content.chunk_size };
    let listed = list(file, shape).map_err(|e| Error::io("read", path.display(), e))?;
    listed.map_err(|flaw| {
        let why = format!("its COW store is damaged: {flaw}");
        Error::new(ErrorKind::Corrupt, "use snapshot", &content.name, why)
            .remedy("its content cannot be trusted: import it again under another name")
    })
}

/// The exceptions of a store in the order in which they are listed, or its flaw.
fn list(file: &dyn ImageFile, shape: Shape) -> io::Result<Result<Vec<(u64, u64)>, String>> {
    let mut exceptions = Vec::new();
    let read = |at, buffer: &mut [u8]| match file.fill_from(buffer, at)? {
        filled if filled == buffer.len() => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    };
    let walked = walk(shape, read, &mut |old, new| exceptions.push((old, new)))?;
    Ok(walked.map(|_| exceptions).map_err(|flaw| flaw.to_string()))
}
