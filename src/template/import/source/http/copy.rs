//! What an earlier attempt left, and a qcow2 image that was downloaded: its disk is made of the copy, which
//! needs no server.

use std::path::Path;

use crate::error::{Error, Result};
use crate::model::digest::Digest;
use crate::sys::{ImageFile, OpenMode};
use crate::template::import::disk::{self, Making};
use crate::template::import::format::HEAD;
use crate::template::import::qcow2;
use crate::template::import::source::http::download::Download;
use crate::template::import::source::http::server::Failure;
use crate::template::import::source::remote::Remote;
use crate::template::import::state::{Derived, ImportRecord, Origin, Start, State};
use crate::template::spec::Progress;

/// What is there of the image.
pub(super) enum Previous {
    Nothing,
    /// A part of the file.
    Reading(Start, Remote),
    /// The whole file, of which the content is still to be made.
    Fetched(ImportRecord, Digest),
    Complete(Digest, Origin),
}

impl Download<'_> {
    /// What an earlier attempt left that is of use for this import.
    pub(super) fn previous(&self) -> Result<Previous> {
        let Some(record) = self.staging.previous()? else { return Ok(Previous::Nothing) };
        // What it left is of a disk. Whether these options suit the source shows at its start.
        if self.spec.making().is_some() {
            return Ok(Previous::Nothing);
        }
        let wanted = self.partition.map(ToString::to_string);
        match &record.state {
            State::Fetched { digest } => {
                let digest = digest.clone();
                return Ok(Previous::Fetched(record, digest));
            }
            State::Complete { digest } if record.identity.partition() == wanted.as_deref() => {
                return Ok(Previous::Complete(digest.clone(), record.identity));
            }
            State::Complete { .. } => return Ok(Previous::Nothing),
            // A part of a raw disk is read in one go.
            State::Reading { .. }
                if wanted.is_some() && self.disk_in(&self.staging.image())?.is_none() =>
            {
                return Ok(Previous::Nothing);
            }
            State::Reading { .. } => {}
        }
        Ok(match (record.identity.clone(), record.resume()) {
            (Origin::Remote(remote), Some(start)) => Previous::Reading(start, remote),
            _ => Previous::Nothing,
        })
    }

    /// The header of the disk image in a file of the import, if it is one.
    pub(super) fn disk_in(&self, path: &Path) -> Result<Option<qcow2::Header>> {
        let mut head = vec![0; HEAD];
        let image = self.staging.pool.host().open_image(path, OpenMode::Read)?;
        let read = image.fill_from(&mut head, 0);
        let read = read.map_err(|error| Error::io("read", path.display(), error))?;
        qcow2::header(&head[..read], &self.server.url.to_string())
    }

    /// Takes note that all of a disk image is there, and makes its disk.
    pub(super) fn keep_copy(
        &self,
        record: ImportRecord,
        image: &dyn ImageFile,
        digest: Digest,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Digest, Origin), Failure> {
        let (staging, host) = (&self.staging, self.staging.pool.host());
        image.sync().map_err(|error| staging.write_failed(error))?;
        host.rename(&staging.image(), &staging.source())?;
        let state = State::Fetched { digest: digest.clone() };
        let record = ImportRecord { state, ..record };
        staging.write_record(&record)?;
        self.make_of_copy(record, digest, progress)
    }

    /// Makes the disk of the image that was downloaded.
    pub(super) fn make_of_copy(
        &self,
        record: ImportRecord,
        source_digest: Digest,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Digest, Origin), Failure> {
        let header = self.disk_in(&self.staging.source())?.ok_or_else(|| {
            let why = "its copy in the pool is no disk image any more";
            self.server.refuse(why).remedy("import it again")
        })?;
        let source_size = record.identity.size();
        let total = Some(source_size + header.disk_size());
        let making = Making {
            staging: &self.staging,
            derived: Derived::new(record.identity.clone(), self.partition),
            record,
            source_size,
            source_digest,
            cancel: self.cancel,
            check: &|| Ok(()),
        };
        let shown = self.server.url.to_string();
        let made = disk::make_of_copy(&header, making, &shown, self.partition, &mut |done| {
            progress(Progress { done: source_size + done, total });
        });
        made.map_err(Failure::Final)
    }
}
