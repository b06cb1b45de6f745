//! Content that is put together from files of the pool, and becomes that of a template.
//!
//! ```text
//!  images/<parent>/image ──share──▸ images/.import-<id>/image ──rename──▸ images/<digest>/image
//!  a COW store           ──share──▸          │
//!                                            └─ without a record: a crash leaves what the next import or
//!                                               reconciliation removes
//! ```

use std::io;
use std::path::{Path, PathBuf};

use crate::cow::pieces::Piece;
use crate::error::{Error, ErrorKind, Result};
use crate::model::cancel::Cancel;
use crate::model::digest::Digest;
use crate::model::key::Key;
use crate::pool::layout::Layout;
use crate::pool::{MORE_ROOM, PoolDir};
use crate::sys::lock::Lock;
use crate::sys::{CopyMode, Flush, ImageFile, OpenMode, SparseRead};
use crate::template::content::is_whole;
use crate::template::import::hash::ContentHash;
use crate::template::import::inspection;
use crate::template::import::naming::{Found, Imported, point, put};
use crate::template::import::pipeline::{self, Input, Job};

const OPERATION: &str = "commit";

/// Bytes that are copied at once.
const BUFFER: u64 = 1 << 20;

/// Content that is being put together, in a directory of its own.
pub(crate) struct Assembly<'a> {
    pool: &'a PoolDir,
    /// What it is made of, for messages and for the template's record.
    subject: String,
    directory: PathBuf,
    /// Keeps others from removing the directory.
    _lock: Lock,
}

/// How much of the content shares blocks with what it was made of, and how much was copied, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shares {
    pub(crate) shared: u64,
    pub(crate) copied: u64,
}

impl<'a> Assembly<'a> {
    /// Makes the directory, empty.
    pub(crate) fn begin(pool: &'a PoolDir, subject: String) -> Result<Self> {
        let id = Key::random().to_string();
        let lock = pool.try_lock_import(&id)?.ok_or_else(|| {
            let why = "another process took its random name first";
            Error::new(ErrorKind::InProgress, OPERATION, &subject, why).remedy("repeat the call")
        })?;
        let directory = pool.layout().import_directory(&id);
        pool.host().make_private_directory(&directory)?;
        Ok(Self { pool, subject, directory, _lock: lock })
    }

    /// Where a COW store may be put that the content is made of.
    pub(crate) fn store(&self) -> PathBuf {
        Layout::import_source(&self.directory)
    }

    fn image(&self) -> PathBuf {
        Layout::import_image(&self.directory)
    }

    /// Starts with the content of a template, `length` bytes long.
    pub(crate) fn start_from(&self, digest: &Digest, length: u64) -> Result<Shares> {
        let (host, parent) = (self.pool.host(), self.pool.layout().image(digest));
        let copy = |mode| host.copy_file(&parent, &self.image(), length, mode, Flush::Later);
        let bytes = host.file(&parent)?.map_or(0, |image| image.allocated);
        match copy(CopyMode::Reflink) {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                let _room = self.pool.claim_room(OPERATION, &self.subject, bytes)?;
                copy(CopyMode::Sparse)?;
                Ok(Shares { shared: 0, copied: bytes })
            }
            shared => shared.map(|()| Shares { shared: bytes, copied: 0 }),
        }
    }

    /// Puts pieces of the file at `store` in their places.
    pub(crate) fn place(&self, store: &Path, pieces: &[Piece], cancel: &Cancel) -> Result<Shares> {
        let host = self.pool.host();
        let left = host.share_pieces(store, &self.image(), pieces)?;
        let copied = sum(&left);
        let shares = Shares { shared: sum(pieces) - copied, copied };
        if left.is_empty() {
            return Ok(shares);
        }
        let mut room = self.pool.claim_room(OPERATION, &self.subject, copied)?;
        let source = host.open_image(store, OpenMode::Read)?;
        let image = host.open_image(&self.image(), OpenMode::Write)?;
        let mut to_do = copied;
        for piece in &left {
            if cancel.is_requested() {
                return Err(self.cancelled());
            }
            self.pool.require_free(OPERATION, &self.subject, 1)?;
            copy(&*source, &*image, piece).map_err(|e| self.write_failed(e))?;
            to_do -= piece.length;
            room.shrink_to(to_do);
        }
        Ok(shares)
    }

    /// Ends the content after `size` bytes, and makes it durable and read-only. Refuses what cannot be a
    /// template's.
    pub(crate) fn finish(&self, size: u64) -> Result<()> {
        let image = self.pool.host().open_image(&self.image(), OpenMode::Write)?;
        image.set_length(size).and_then(|()| image.seal()).map_err(|e| self.write_failed(e))?;
        inspection::inspect(&*image, size, &self.subject).map(drop)
    }

    /// Reads all of the content; `progress` is told the bytes done.
    pub(crate) fn digest(
        &self,
        size: u64,
        cancel: &Cancel,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Digest> {
        if cancel.is_requested() {
            return Err(self.cancelled());
        }
        let path = self.image();
        let image = self.pool.host().open_image(&path, OpenMode::Read)?;
        let job = Job {
            source: Input::File(&*image),
            size: Some(size),
            destination: None,
            start: 0,
            hash: ContentHash::default(),
            read_failed: &|e| Error::io("read", path.display(), e),
            write_failed: &|e| self.write_failed(e),
            cancel: cancel.clone(),
            room: &|_| Ok(()),
            checkpoint: &|_, _| Ok(()),
        };
        match pipeline::run(job, progress) {
            Err(error) if error.kind() == ErrorKind::Cancelled => Err(self.cancelled()),
            whole => whole.map(|whole| whole.digest),
        }
    }

    /// Puts the content in its place under its digest, once, and points a name to it.
    pub(crate) fn publish(&self, name: &str, digest: &Digest, size: u64) -> Result<Imported> {
        let (pool, host) = (self.pool, self.pool.host());
        host.remove_file(&self.store())?;
        host.sync_directory(&self.directory)?;
        let found = Found { digest, size, made_by: None };
        let install = || match is_whole(pool, digest, size)? {
            true => host.remove_directory(&self.directory).map(|()| true),
            false => put(pool, &self.directory, digest).map(|()| true),
        };
        point(pool, name, &self.subject, &found, install)?.ok_or_else(|| {
            let why = "its content vanished while it was named";
            Error::new(ErrorKind::Internal, OPERATION, &self.subject, why).remedy("repeat the call")
        })
    }

    /// Removes what was put together, after a failure that is told anyway.
    pub(crate) fn discard(&self) {
        if let Err(error) = self.pool.host().remove_directory(&self.directory) {
            let error = error.report();
            tracing::warn!(error, "an unfinished commit is left; reconciliation will remove it");
        }
    }

    fn cancelled(&self) -> Error {
        Error::new(ErrorKind::Cancelled, OPERATION, &self.subject, "the caller cancelled it")
            .remedy("repeat the call: it begins anew")
    }

    fn write_failed(&self, error: io::Error) -> Error {
        let error = Error::io("write template content to", self.image().display(), error);
        if error.kind() == ErrorKind::NoSpace { error.remedy(MORE_ROOM) } else { error }
    }
}

impl std::ops::Add for Shares {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { shared: self.shared + other.shared, copied: self.copied + other.copied }
    }
}

fn sum(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|piece| piece.length).sum()
}

/// Copies a piece; what the source does not have any more is an error.
fn copy(source: &dyn SparseRead, image: &dyn ImageFile, piece: &Piece) -> io::Result<()> {
    let mut done = 0;
    while done < piece.length {
        let step = (piece.length - done).min(BUFFER);
        let mut bytes = vec![0; usize::try_from(step).unwrap_or(usize::MAX)];
        if source.fill_from(&mut bytes, piece.from + done)? < bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        image.write_all_at(&bytes, piece.to + done)?;
        done += step;
    }
    Ok(())
}
