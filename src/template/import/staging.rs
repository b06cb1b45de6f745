//! The directory in which content is made before it has its digest for a name.
//!
//! What reading a file ([`fetch`](super::fetch)) and reading the network
//! ([`download`](super::download)) have in common: where the content and its record are written,
//! and how much room there must be.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};
use crate::model::units::format_size;
use crate::pool::layout::Layout;
use crate::pool::{PoolDir, record};
use crate::template::import::state::{ImportRecord, Origin};

const MORE_ROOM: &str =
    "remove templates or volumes that are not needed, or enlarge the pool's file system";

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

    /// What an earlier import left, if that can be told and its content is there.
    pub(crate) fn previous(&self) -> Option<ImportRecord> {
        let previous = record::read(&Layout::import_record(&self.directory))
            .inspect_err(|e| tracing::info!("an unfinished import is of no use: {}", e.report()))
            .ok()??;
        self.image().exists().then_some(previous)
    }

    pub(crate) fn write_record(&self, record: &ImportRecord) -> Result<()> {
        let path = Layout::import_record(&self.directory);
        self.pool.host().write_record(&path, &record::to_bytes(record))
    }

    /// Makes the file for the content, empty.
    pub(crate) fn create_image(&self) -> Result<()> {
        let image = self.image();
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&image)
            .map(drop)
            .map_err(|e| self.write_failed(e))
    }

    /// Opens the content to go on writing it.
    pub(crate) fn open_image(&self) -> Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.image())
            .map_err(|e| self.write_failed(e))
    }

    /// Cuts off what was written after `offset`, so that it is written again on top of holes.
    pub(crate) fn rewind(&self, image: &File, offset: u64, size: u64) -> Result<()> {
        image.set_len(offset).and_then(|()| image.set_len(size)).map_err(|e| self.write_failed(e))
    }

    /// Makes the content durable and read-only.
    pub(crate) fn seal(&self, image: &File) -> Result<()> {
        image
            .set_permissions(Permissions::from_mode(0o400))
            .and_then(|()| image.sync_all())
            .map_err(|e| self.write_failed(e))
    }

    /// Removes the directory with what is in it.
    pub(crate) fn clear(&self) -> Result<()> {
        self.pool.host().remove_directory(&self.directory)
    }

    /// Removes what nobody can use any more, after a failure that is told anyway.
    pub(crate) fn discard(&self) {
        if let Err(e) = self.clear() {
            tracing::warn!("the unfinished import is left: {}", e.report());
        }
    }

    /// Fails if `bytes` more would eat into the reserve, which running volumes live on.
    pub(crate) fn check_room(&self, bytes: u64) -> Result<()> {
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
        Err(Error::new(ErrorKind::NoSpace, "import", &self.subject, why).remedy(MORE_ROOM))
    }

    /// The error of a write to the content.
    pub(crate) fn write_failed(&self, error: io::Error) -> Error {
        let error = Error::io("write template content to", self.image().display(), error);
        if error.kind() == ErrorKind::NoSpace { error.remedy(MORE_ROOM) } else { error }
    }
}
