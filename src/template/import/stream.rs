//! Content that is made while its source is read once, from its first byte to its last: a compressed
//! file, a partition of a disk, standard input.
//!
//! ```text
//! source ──▸ unpack ──▸ partition ──▸ image: hash, write
//!              └──────▸ copy ──▸ disk of a qcow2 image
//! ```
//!
//! Two digests come of it: that of the source, as publishers give it, and that of the content. What was
//! interrupted begins anew, since the state of a decoder cannot be kept. To be called with the import
//! locked.

use std::io::{self, Cursor, Read};

use crate::error::{Error, Result};
use crate::model::cancel::Cancel;
use crate::model::digest::Digest;
use crate::model::partition::Partition;
use crate::pool::PoolDir;
use crate::template::import::disk::{self, Making};
use crate::template::import::format::{self, HEAD, Packing};
use crate::template::import::incoming::Incoming;
use crate::template::import::partition::{self, TABLE, Window};
use crate::template::import::staging::Staging;
use crate::template::import::state::{Derived, ImportRecord, Origin, Read as Made};
use crate::template::import::{inspection, qcow2};
use crate::template::spec::Progress;

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
    /// SHA-256 of the source, if the stream is a part of it.
    pub(crate) source_digest: Option<Digest>,
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

/// Reads the stream to its end into this directory. What it keeps of the source is removed at last.
pub(crate) fn make(
    staging: &Staging<'_>,
    derived: Derived,
    stream: Stream<'_>,
    cancel: &Cancel,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Digest, Origin)> {
    let Stream { shown, bytes, size, packing, partition, source_digest, failed, check, .. } =
        stream;
    let incoming = Incoming::new(&shown, size, packing, failed, cancel);
    let mut image = incoming.content(bytes)?;
    let subject = if packing.is_some() { format!("{shown}, unpacked") } else { shown.clone() };
    // Before anything is written.
    let mut head = Vec::new();
    let length = if partition.is_some() { TABLE } else { HEAD };
    let read = (&mut image).take(length as u64).read_to_end(&mut head);
    let disk = qcow2::header(&head, &subject)?;
    if disk.is_none() {
        format::check_head(&head[..head.len().min(HEAD)], &subject)?;
    }
    read.map_err(|error| incoming.explain(error))?;
    let wanted = partition.filter(|_| disk.is_none());
    let place = wanted.map(|wanted| partition::find(&head, wanted, &subject)).transpose()?;
    let whole = Cursor::new(head).chain(image);
    let (content, subject): (Box<dyn Read + Send + '_>, _) = match (place, wanted) {
        (Some(place), Some(wanted)) => {
            (Box::new(Window::new(whole, place)), format!("{subject}, partition {wanted}"))
        }
        _ => (Box::new(whole), subject),
    };

    staging.restart()?;
    let record = ImportRecord::new(&shown, Origin::Derived(derived.clone()));
    staging.write_record(&record)?;
    let path = if disk.is_some() { staging.source() } else { staging.image() };
    // A disk is made in a second pass.
    let later = disk.as_ref().map_or(0, qcow2::Header::disk_size);
    let (image, whole) = incoming.copy(content, staging, &path, later, progress)?;
    check()?;
    let source_size = incoming.bytes();
    let source_digest = source_digest.unwrap_or_else(|| incoming.digest());
    if let Some(header) = disk {
        let check = &|| Ok(());
        let making = Making { staging, derived, record, source_size, source_digest, cancel, check };
        let total = size.map(|size| size + later);
        return disk::make_of_copy(&header, making, &subject, partition, &mut |done| {
            progress(Progress { done: source_size + done, total });
        });
    }
    inspection::inspect(&*image, whole.size, &subject)?;
    staging.remove_source()?;
    let made = Made { size: whole.size, source_digest };
    staging.complete(&*image, record, derived, made, whole.digest)
}
