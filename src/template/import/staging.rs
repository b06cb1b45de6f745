//! The directory in which content is made before it has its digest for a name.
//!
//! What reading a file ([`fetch`](super::fetch)) and reading the network
//! ([`download`](super::download)) have in common: where the content and its record are written,
//! and how much room there must be.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::model::digest::Digest;
#[cfg(feature = "formats")]
use crate::pool::image_config::ImageConfig;
use crate::pool::layout::Layout;
use crate::pool::room::RoomClaim;
use crate::pool::{MORE_ROOM, PoolDir, record};
use crate::sys::{Flush, ImageFile, OpenMode};
use crate::template::import::state::{Derived, ImportRecord, Origin, Read, State};

/// The directory of one import, which is locked.
pub(crate) struct Staging<'a> {
    pub(crate) pool: &'a PoolDir,
    directory: PathBuf,
    /// What is imported, for messages.
    subject: String,
}

impl<'a> Staging<'a> {
    pub(crate) fn new(pool: &'a PoolDir, origin: &Origin, subject: impl ToString) -> Self {
        let directory = pool.layout().import_directory(&origin.id());
        Self { pool, directory, subject: subject.to_string() }
    }

    /// The content.
    pub(crate) fn image(&self) -> PathBuf {
        Layout::import_image(&self.directory)
    }

    /// The copy of the source of which the content is made, if it takes one.
    pub(crate) fn source(&self) -> PathBuf {
        Layout::import_source(&self.directory)
    }

    /// What an earlier import left, if its record can be understood and what it tells of is there.
    pub(crate) fn previous(&self) -> Result<Option<ImportRecord>> {
        let host = self.pool.host();
        let record = Layout::import_record(&self.directory);
        let previous: Option<ImportRecord> = match record::read(host, &record) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                tracing::info!("an unfinished import is of no use: {}", error.report());
                return Ok(None);
            }
            previous => previous?,
        };
        let needed = match previous.as_ref().map(|previous| &previous.state) {
            Some(State::Fetched { .. }) => self.source(),
            _ => self.image(),
        };
        Ok(if host.file(&needed)?.is_some() { previous } else { None })
    }

    pub(crate) fn write_record(&self, record: &ImportRecord) -> Result<()> {
        let path = Layout::import_record(&self.directory);
        self.pool.host().write_record(&path, &record::to_bytes(record))
    }

    /// Makes the file for the content, empty.
    pub(crate) fn create_image(&self) -> Result<()> {
        self.create(&self.image())
    }

    /// Makes a file of the directory, empty.
    pub(crate) fn create(&self, path: &Path) -> Result<()> {
        self.pool.host().create_file(path, 0, Flush::Later).map_err(out_of_room)
    }

    /// Opens the content to go on writing it.
    pub(crate) fn open_image(&self) -> Result<Box<dyn ImageFile>> {
        self.pool.host().open_image(&self.image(), OpenMode::Write)
    }

    /// Keeps how the container image is run that the content is made of.
    #[cfg(feature = "formats")]
    pub(crate) fn write_config(&self, config: &ImageConfig) -> Result<()> {
        let path = Layout::image_config(&self.directory);
        self.pool.host().write_record(&path, &record::to_bytes(config))
    }

    /// A part of the source that is fetched by itself.
    #[cfg(all(feature = "formats", feature = "http"))]
    pub(crate) fn part(&self, name: &str) -> PathBuf {
        Layout::import_parts(&self.directory).join(name)
    }

    /// Removes what was kept of the source, once the content is made of it.
    pub(crate) fn remove_source(&self) -> Result<()> {
        let host = self.pool.host();
        host.remove_file(&self.source())?;
        host.discard_directory(&Layout::import_parts(&self.directory))
    }

    /// Cuts off what was written after `offset`, so that it is written again on top of holes.
    pub(crate) fn rewind(&self, image: &dyn ImageFile, offset: u64, size: u64) -> Result<()> {
        image
            .set_length(offset)
            .and_then(|()| image.set_length(size))
            .map_err(|e| self.write_failed(e))
    }

    /// Makes the content durable and read-only.
    pub(crate) fn seal(&self, image: &dyn ImageFile) -> Result<()> {
        image.seal().map_err(|e| self.write_failed(e))
    }

    /// Takes note that content is complete that was made of a source. Returns its digest, and what it was
    /// made of.
    pub(crate) fn complete(
        &self,
        image: &dyn ImageFile,
        record: ImportRecord,
        derived: Derived,
        made: Read,
        digest: Digest,
    ) -> Result<(Digest, Origin)> {
        self.seal(image)?;
        let identity = Origin::Derived(Derived { read: Some(made), ..derived });
        let state = State::Complete { digest: digest.clone() };
        self.write_record(&ImportRecord { identity: identity.clone(), state, ..record })?;
        Ok((digest, identity))
    }

    /// Removes what an earlier import made, but for parts of the source.
    pub(crate) fn restart(&self) -> Result<()> {
        let host = self.pool.host();
        host.remove_file(&self.image())?;
        host.remove_file(&self.source())
    }

    /// Removes the directory with what is in it.
    pub(crate) fn clear(&self) -> Result<()> {
        self.pool.host().remove_directory(&self.directory)
    }

    /// The error of an import that cannot be resumed, whose directory is removed.
    pub(crate) fn give_up(&self, error: Error) -> Error {
        self.discard();
        match error.kind() {
            ErrorKind::Cancelled => error.remedy("import it again"),
            _ => error,
        }
    }

    /// Removes what nobody can use any more, after a failure that is told anyway.
    pub(crate) fn discard(&self) {
        if let Err(e) = self.clear() {
            tracing::warn!("the unfinished import is left: {}", e.report());
        }
    }

    /// Claims room for `bytes`, beside what other imports claim.
    pub(crate) fn claim_room(&self, bytes: u64) -> Result<RoomClaim<'a>> {
        self.pool.claim_room("import", &self.subject, bytes)
    }

    /// Fails if the reserve is eaten into.
    pub(crate) fn check_room(&self) -> Result<()> {
        self.pool.require_free("import", &self.subject, 1)
    }

    /// The error of a write to the content.
    pub(crate) fn write_failed(&self, error: io::Error) -> Error {
        out_of_room(Error::io("write template content to", self.image().display(), error))
    }
}

/// Says what to do about an error, if space is what was short.
fn out_of_room(error: Error) -> Error {
    if error.kind() == ErrorKind::NoSpace { error.remedy(MORE_ROOM) } else { error }
}
