//! Making content of the disk in a qcow2 image, with the feature `formats`.

use std::io;

use crate::error::{Error, ErrorKind, Result};
use crate::model::digest::Digest;
use crate::model::partition::Partition;
use crate::pool::PoolDir;
use crate::sys::{OpenMode, SparseRead};
use crate::template::import::disk::making::Making;
use crate::template::import::hash::ContentHash;
use crate::template::import::partition::{self, Beyond, Place, Section, TABLE};
use crate::template::import::qcow2::{self, Disk, Header};
use crate::template::import::ratio::check_ratio;
use crate::template::import::source::Source;
use crate::template::import::staging::Staging;
use crate::template::import::state::{Derived, ImportRecord, Origin, Read};
use crate::template::import::{inspection, pipeline};
use crate::template::spec::{ImportSpec, Progress};

const OPERATION: &str = "import";

/// What of a disk becomes the content. It was inspected.
struct Content<'a> {
    part: Section<Disk<'a>>,
    shown: &'a str,
    /// Makes an error of a failed read of the image.
    failed: &'a (dyn Fn(io::Error) -> Error + Sync),
}

/// Makes content of an image in a file.
pub(crate) fn read_file(
    _: &Header,
    pool: &PoolDir,
    source: &Source,
    spec: &ImportSpec,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Digest, Origin)> {
    let derived = Derived::new(Origin::File(source.identity.clone()), spec.partition.as_ref());
    let staging = Staging::new(pool, &Origin::Derived(derived.clone()), source.path.display());
    make_of_file(&staging, source, derived, spec, progress).map_err(|error| staging.give_up(error))
}

fn make_of_file(
    staging: &Staging<'_>,
    source: &Source,
    derived: Derived,
    spec: &ImportSpec,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Digest, Origin)> {
    let shown = source.path.display().to_string();
    let failed = |error| Error::io(OPERATION, &shown, error);
    let content = Content::open(&*source.file, &shown, spec.partition.as_ref(), &failed)?;
    let total = Some(source.size + content.size());
    let job = pipeline::Job {
        source: pipeline::Input::File(&*source.file),
        size: Some(source.size),
        destination: None,
        start: 0,
        hash: ContentHash::default(),
        read_failed: &|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => source.changed(),
            _ => failed(error),
        },
        write_failed: &failed,
        cancel: spec.cancel.clone(),
        room: &|_| Ok(()),
        checkpoint: &|_, _| Ok(()),
    };
    progress(Progress { done: 0, total });
    let read = pipeline::run(job, &mut |done| progress(Progress { done, total }))?;
    staging.clear()?;
    let record = ImportRecord::new(&shown, Origin::Derived(derived.clone()));
    staging.write_record(&record)?;
    let making = Making {
        staging,
        derived,
        record,
        source_size: source.size,
        source_digest: read.digest,
        cancel: &spec.cancel,
        check: &|| source.check_unchanged(),
    };
    content.make(making, &mut |done| progress(Progress { done: source.size + done, total }))
}

/// Makes content of the copy of an image that is in the directory of the import. `progress` is told the
/// bytes of the disk done.
pub(crate) fn make_of_copy(
    _: &Header,
    making: Making<'_>,
    shown: &str,
    partition: Option<&Partition>,
    progress: &mut dyn FnMut(u64),
) -> Result<(Digest, Origin)> {
    let copy = making.staging.pool.host().open_image(&making.staging.source(), OpenMode::Read)?;
    let failed = |error| Error::io(OPERATION, making.staging.source().display(), error);
    Content::open(&*copy, shown, partition, &failed)?.make(making, progress)
}

impl<'a> Content<'a> {
    /// Opens an image, and refuses it if nothing can be made of it. `shown` is the image, for people.
    fn open(
        image: &'a dyn SparseRead,
        shown: &'a str,
        wanted: Option<&Partition>,
        failed: &'a (dyn Fn(io::Error) -> Error + Sync),
    ) -> Result<Self> {
        let disk = Disk::open(image, shown)?;
        if let snapshots @ 1.. = disk.snapshots() {
            tracing::warn!(
                "{shown}: the template has its present state, and none of its {snapshots} snapshots"
            );
        }
        let read_failed = |error| unreadable(error, shown, failed);
        let (size, mut subject) = (disk.size(), format!("{shown}, as a disk"));
        let mut place = Place { start: 0, length: size };
        if let Some(wanted) = wanted {
            let mut head = vec![0; TABLE];
            let read = disk.fill_from(&mut head, 0).map_err(read_failed)?;
            place = partition::find(&head[..read], wanted, &subject)?;
            subject = format!("{subject}, partition {wanted}");
        }
        let part = Section::new(disk, size, place).map_err(read_failed)?;
        inspection::inspect_with(&part, part.size(), &subject, &read_failed)?;
        Ok(Self { part, shown, failed })
    }

    /// Size of the content, in bytes.
    fn size(&self) -> u64 {
        self.part.size()
    }

    /// Writes the content to the directory of its import. Returns its digest, and what it was made of.
    /// `progress` is told the bytes of content done.
    fn make(&self, making: Making<'_>, progress: &mut dyn FnMut(u64)) -> Result<(Digest, Origin)> {
        let Making { staging, derived, record, source_size, source_digest, cancel, check } = making;
        let (host, size) = (staging.pool.host(), self.size());
        let _room = staging.claim_room(source_size.min(size))?;
        // What an interrupted import left.
        host.remove_file(&staging.image())?;
        staging.create_image()?;
        let image = staging.open_image()?;
        staging.rewind(&*image, 0, size)?;
        let job = pipeline::Job {
            source: pipeline::Input::File(&self.part),
            size: Some(size),
            destination: Some(&*image),
            start: 0,
            hash: ContentHash::default(),
            read_failed: &|error| unreadable(error, self.shown, self.failed),
            write_failed: &|error| staging.write_failed(error),
            cancel: cancel.clone(),
            room: &|written| {
                check_ratio(written, source_size, self.shown)?;
                staging.check_room()
            },
            checkpoint: &|_, _| Ok(()),
        };
        let digest = pipeline::run(job, progress)?.digest;
        check()?;
        staging.remove_source()?;
        let made = Read { size, source_digest };
        staging.complete(&*image, record, derived, made, digest)
    }
}

/// The error of a failed read, of the image or of what it says.
fn unreadable(error: io::Error, shown: &str, failed: &dyn Fn(io::Error) -> Error) -> Error {
    if let Some(refusal) = qcow2::explain(&error, shown) {
        return refusal;
    }
    match error.get_ref().and_then(|cause| cause.downcast_ref::<Beyond>()) {
        Some(cut) => Error::new(ErrorKind::InvalidArgument, OPERATION, shown, cut.to_string())
            .remedy("make or copy the image again, and compare its SHA-256"),
        None => failed(error),
    }
}
