//! An artifact that is a single file: a disk image, as ORAS and others push it.

use std::sync::Mutex;

use crate::error::{Error, Result};
use crate::model::digest::Digest;
use crate::template::import::files::options::check_disk;
use crate::template::import::hash::ContentHash;
use crate::template::import::oci::job::Job;
use crate::template::import::oci::store::{Part, WHOLE, refused};
use crate::template::import::pipeline;
use crate::template::import::slice::Slice;
use crate::template::import::state::Origin;
use crate::template::import::stream::{self, Stream};
use crate::template::spec::Progress;

const OPERATION: &str = "import";

/// An artifact whose file can be read.
pub(super) struct Artifact<'a> {
    /// SHA-256 of the manifest.
    pub(super) manifest: Digest,
    pub(super) part: Part<'a>,
    /// What the SHA-256 of the file must be.
    pub(super) digest: Digest,
}

impl Artifact<'_> {
    /// Makes the content of it, once its digest is that of the manifest. `source` is the digest of the
    /// source, if that is another one than the manifest's.
    pub(super) fn make(
        &self,
        job: Job<'_>,
        source: Option<Digest>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Digest, Origin)> {
        check_disk(job.spec, job.shown)?;
        self.check_digest(&job)?;
        let Job { staging, shown, derived, spec, check, .. } = job;
        let Part { held, start, size } = &self.part;
        let failed = |error| Error::io(OPERATION, shown, error);
        let stream = Stream {
            shown: shown.to_owned(),
            origin: (*derived.of).clone(),
            packing: self.part.packing(shown)?,
            bytes: Box::new(Slice::new(held.file(), *start, *size)),
            size: Some(*size),
            partition: spec.partition.as_ref(),
            source_digest: Some(source.unwrap_or_else(|| self.manifest.clone())),
            failed: &failed,
            check,
        };
        stream::make(staging, derived, stream, &spec.cancel, progress)
    }

    fn check_digest(&self, job: &Job<'_>) -> Result<()> {
        let Part { held, start, size } = &self.part;
        let shown = job.shown;
        let failed = |error| Error::io(OPERATION, shown, error);
        let read = pipeline::run(
            pipeline::Job {
                source: pipeline::Input::Stream(Mutex::new(Box::new(Slice::new(
                    held.file(),
                    *start,
                    *size,
                )))),
                size: None,
                destination: None,
                start: 0,
                hash: ContentHash::default(),
                read_failed: &failed,
                write_failed: &failed,
                cancel: job.spec.cancel.clone(),
                room: &|_| Ok(()),
                checkpoint: &|_, _| Ok(()),
            },
            &mut |_| (),
        )?;
        if read.digest == self.digest {
            return Ok(());
        }
        let why = format!("its file is sha256:{}, not sha256:{}", read.digest, self.digest);
        Err(refused(job.shown, why).remedy(WHOLE))
    }
}
