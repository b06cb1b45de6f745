//! Makes a snapshot of a stream that `export` wrote, here or elsewhere.
//!
//! ```text
//!  stream ──▸ snapshots/<key>/cow ──▸ digest, exceptions, template ──▸ snapshots/<key>/snapshot.json
//!                    ▲
//!  base ────share────┘
//! ```
//!
//! As with every snapshot, nothing counts before the record is written; what is there without one is removed by the
//! next import of that name, or by reconciliation. The stream may come slowly and be anything, so while it
//! comes, no lock is held but those of the two snapshots.

mod basis;
mod refusal;
mod store;

use std::io::Read;

use jiff::Timestamp;

use crate::cow::exceptions::Content;
use crate::error::{Error, ErrorKind, Result};
use crate::model::export::SnapshotImportSpec;
use crate::model::key::Key;
use crate::model::volume_id;
use crate::pool::PoolDir;
use crate::pool::record::{IMPORTS_FORMAT, to_bytes};
use crate::pool::snapshots::{self, SnapshotImport, SnapshotRecord};
use crate::snapshot::catalog::{self, SnapshotStatus};
use crate::snapshot::import::refusal::{OPERATION, cancelled};
use crate::snapshot::import::store::Store;
use crate::snapshot::remove;
use crate::snapshot::stream::{Head, Part, Reader, Run, Summary, What};
use crate::sys::lock::Mode;
use crate::template::spec::Progress;
use crate::volume::commitment::allocated;
use crate::volume::lock;
use crate::volume::machine::store::{Evidence, examine};
use crate::volume::space::AdmissionControl;
use crate::volume::start::Start;

/// A snapshot that was imported, or that a repeated call found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportedSnapshot {
    /// The snapshot.
    pub snapshot: SnapshotStatus,
    /// The snapshot of this pool upon which it was made, if the stream had only what changed since.
    pub base: Option<String>,
    /// Whether an earlier call had made the snapshot.
    pub existed: bool,
    /// Length of the stream, in bytes.
    pub length: u64,
    /// The SHA-256 of the stream, in hexadecimal digits.
    pub digest: String,
}

/// Makes the snapshot. Reads the stream up to its end and no further.
pub(crate) fn import(
    pool: &PoolDir,
    spec: &SnapshotImportSpec,
    input: &mut dyn Read,
    progress: &mut dyn FnMut(Progress),
) -> Result<ImportedSnapshot> {
    volume_id::check_snapshot(&spec.name)?;
    let stream = Reader::begin(input).map_err(|fault| fault.into_error(OPERATION, &spec.name))?;
    let mut incoming = Incoming { spec, stream, progress };
    let key = Key::of(&spec.name);
    let _snapshot = lock::snapshot(pool, &key, &spec.name, OPERATION, Mode::Exclusive)?;
    if let Some(record) = snapshots::read(pool, &key)? {
        agrees(pool, &record, incoming.stream.head())?;
        let Summary { digest, length } = incoming.read(&mut |_, _| Ok(()))?;
        let snapshot = catalog::describe(pool, record)?;
        return Ok(ImportedSnapshot { snapshot, base: None, existed: true, length, digest });
    }
    // What can be refused is refused before all of the stream was sent.
    basis::content(pool, spec, incoming.stream.head())?;
    let base = basis::base(pool, spec, incoming.stream.head())?;
    let base = base.as_ref().map(|(start, _)| start);
    // An interrupted call may have left a store.
    remove::clear(pool, &key)?;
    let made = make(pool, &mut incoming, base);
    if made.is_err()
        && let Err(error) = remove::clear(pool, &key)
    {
        let error = error.report();
        tracing::warn!(
            snapshot = spec.name,
            error,
            "could not remove a half-made snapshot; reconciliation will retry"
        );
    }
    let (record, Summary { digest, length }) = made?;
    let base = base.map(|base| base.content.name.clone());
    tracing::info!(snapshot = record.name, base, digest, length, "imported");
    let snapshot = catalog::describe(pool, record)?;
    Ok(ImportedSnapshot { snapshot, base, existed: false, length, digest })
}

/// Checks that a snapshot that exists is the one in the stream.
fn agrees(pool: &PoolDir, record: &SnapshotRecord, head: &Head) -> Result<()> {
    let has = record.identity(pool.id());
    if has == head.identity {
        return Ok(());
    }
    let why = format!("it exists with identity {has}, and the stream has {}", head.identity);
    Err(Error::new(ErrorKind::AlreadyExists, OPERATION, &record.name, why)
        .remedy("use another name, or delete that snapshot"))
}

/// Takes runs, and the content of those with data.
type Apply<'a> = dyn FnMut(&[Run], &[u8]) -> Result<()> + 'a;

/// A stream from which a snapshot is made.
struct Incoming<'a, 'r> {
    spec: &'a SnapshotImportSpec,
    stream: Reader<&'a mut (dyn Read + 'r)>,
    progress: &'a mut dyn FnMut(Progress),
}

impl Incoming<'_, '_> {
    /// Reads to the end, and gives away what comes.
    fn read(&mut self, apply: &mut Apply<'_>) -> Result<Summary> {
        let Head { told, chunk_size, .. } = *self.stream.head();
        let mut done = 0;
        loop {
            if self.spec.cancel.is_requested() {
                return Err(cancelled(self.spec));
            }
            let part = self.stream.part();
            match part.map_err(|fault| fault.into_error(OPERATION, &self.spec.name))? {
                Part::End(summary) => return Ok(summary),
                Part::Runs(runs, content) => {
                    apply(&runs, &content)?;
                    let written = runs.iter().filter(|run| run.what != What::Template);
                    done += written.map(|run| u64::from(run.count)).sum::<u64>() * chunk_size;
                    (self.progress)(Progress { done, total: Some(told * chunk_size) });
                }
            }
        }
    }
}

/// Makes the store, then the record. Each is on the disk before the next begins.
fn make(
    pool: &PoolDir,
    incoming: &mut Incoming<'_, '_>,
    base: Option<&Start>,
) -> Result<(SnapshotRecord, Summary)> {
    let (host, layout, spec) = (pool.host(), pool.layout(), incoming.spec);
    let (head, key) = (incoming.stream.head().clone(), Key::of(&spec.name));
    let path = layout.snapshot_store(&key);
    host.make_private_directory(&layout.snapshot_directory(&key))?;
    let mut store = Store::begin(pool, &path, spec, &head, base)?;
    let summary = incoming.read(&mut |runs, content| store.apply(runs, content))?;
    store.finish()?;
    let content = settle(pool, spec, &head)?;
    let admission = AdmissionControl::begin(pool)?;
    admission.admit_snapshot(&spec.name, allocated(pool, &path)?)?;
    let _image = pool.lock_image(&head.digest, Mode::Shared)?;
    let basis::Content { template, fs_type } = basis::content(pool, spec, &head)?;
    let record = SnapshotRecord {
        name: spec.name.clone(),
        volume: head.volume,
        template,
        digest: head.digest,
        template_size: head.template_size,
        fs_type,
        size: head.size,
        chunk_size: head.chunk_size,
        chunks: content.exceptions,
        stored: content.stored,
        consistency: head.consistency,
        created: head.created,
        group: None,
        imported: Some(SnapshotImport { identity: head.identity, time: Timestamp::now() }),
    };
    pool.require_format(IMPORTS_FORMAT)?;
    for directory in [&layout.snapshot_directory(&key), &layout.snapshots(), layout.root()] {
        host.sync_directory(directory)?;
    }
    host.write_record(&layout.snapshot_record(&key), &to_bytes(&record))?;
    Ok((record, summary))
}

/// Makes the store durable, and checks that it is what the stream promised.
fn settle(pool: &PoolDir, spec: &SnapshotImportSpec, head: &Head) -> Result<Content> {
    let path = pool.layout().snapshot_store(&Key::of(&spec.name));
    let why = match examine(pool.host(), &path, head.size, head.chunk_size)? {
        Evidence::Whole(content) if content.exceptions == head.chunks => return Ok(content),
        Evidence::Whole(content) => format!(
            "it would have {} written chunks, and the stream promises {}",
            content.exceptions, head.chunks
        ),
        Evidence::LostWrites(error) => {
            return Err(Error::io("write back", path.display(), error));
        }
        Evidence::Damaged(what) => format!("what was made of it is damaged: {what}"),
    };
    Err(Error::new(ErrorKind::Corrupt, OPERATION, &spec.name, why)
        .remedy("export the snapshot again, without a base"))
}
