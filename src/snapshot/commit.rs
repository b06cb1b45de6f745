//! Makes a template of what a snapshot or a volume holds, of the blocks that these have.
//!
//! The content is the template's content that the COW store rests on, with each written chunk in its place. Both
//! are shared with what they come from, block by block, so nothing is read but the list of chunks. The new template
//! needs neither afterwards.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cow::exceptions::Shape;
use crate::cow::header::StoreHeader;
use crate::cow::pieces::{self, Piece};
use crate::error::{Error, ErrorKind, Result};
use crate::model::commit::CommitSpec;
use crate::model::digest::Digest;
use crate::model::key::Key;
use crate::model::snapshot::VolumeSource;
use crate::model::template_name;
use crate::pool::PoolDir;
use crate::pool::record::{COMMITS_FORMAT, TemplateRecord, to_bytes};
use crate::pool::snapshots::SnapshotRecord;
use crate::snapshot::create::{describe, prepare, settle};
use crate::snapshot::source::Source;
use crate::sys::OpenMode;
use crate::sys::lock::{Lock, Mode};
use crate::template::content::check_content;
use crate::template::import::Imported;
use crate::template::import::assembly::{Assembly, Shares};
use crate::template::spec::Progress;
use crate::volume::{lock, start};

const OPERATION: &str = "commit";

/// A template that was made of a snapshot or a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// The template.
    pub template: TemplateRecord,
    /// Bytes of its content that share blocks with what it was made of.
    pub shared: u64,
    /// Bytes that were copied, since their blocks cannot be shared.
    pub copied: u64,
    /// For how long writers of the volume waited at most; `None` of a snapshot.
    pub waited: Option<Duration>,
}

/// Makes the template. Also returns the digest of other content to which the name pointed before.
pub(crate) fn commit(
    pool: &PoolDir,
    spec: &CommitSpec,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Committed, Option<Digest>)> {
    template_name::check(OPERATION, &spec.name)?;
    let subject = subject(&spec.source);
    pool.require_free(OPERATION, &subject, 1)?;
    let assembly = Assembly::begin(pool, subject)?;
    assemble(pool, spec, &assembly, progress).inspect_err(|_| assembly.discard())
}

/// What the template is made of, for people.
fn subject(source: &VolumeSource) -> String {
    match source {
        VolumeSource::Snapshot(name) => format!("snapshot {name}"),
        VolumeSource::Volume(id) => format!("volume {id}"),
    }
}

/// The content of a COW store that nobody changes.
struct Frozen {
    content: SnapshotRecord,
    store: PathBuf,
    /// For how long writers waited for the cut, if there was one.
    waited: Option<Duration>,
    /// Keeps the template's content that the store rests on.
    _image: Lock,
    /// Keeps the snapshot.
    _snapshot: Option<Lock>,
}

fn assemble(
    pool: &PoolDir,
    spec: &CommitSpec,
    assembly: &Assembly<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Committed, Option<Digest>)> {
    let frozen = freeze(pool, spec, assembly)?;
    let content = &frozen.content;
    let (size, waited) = (content.size, frozen.waited);
    let shares = put_together(pool, &frozen, assembly, spec)?;
    let digest = match spec.digest {
        true => assembly.digest(size, &spec.cancel, &mut |done| {
            progress(Progress { done, total: Some(size) });
        })?,
        false => identify(pool, content),
    };
    // The locks come after that of the name, and the new content is complete without the old.
    drop(frozen);
    if digest.sha256().is_none() {
        pool.require_format(COMMITS_FORMAT)?;
    }
    let Imported { record: template, former } = assembly.publish(&spec.name, &digest, size)?;
    tracing::info!(
        template = template.name,
        source = template.source,
        digest = template.digest.as_str(),
        shared = shares.shared,
        copied = shares.copied,
        "committed"
    );
    let Shares { shared, copied } = shares;
    Ok((Committed { template, shared, copied, waited }, former))
}

/// Identifies content by the record of what it is made of: one of this pool, of this instant.
fn identify(pool: &PoolDir, content: &SnapshotRecord) -> Digest {
    let mut description = format!("{}\n", pool.id()).into_bytes();
    description.extend(to_bytes(content));
    Digest::of_commit(&description)
}

/// Finds the snapshot, or cuts the volume, whose lock is held only meanwhile.
fn freeze(pool: &PoolDir, spec: &CommitSpec, assembly: &Assembly<'_>) -> Result<Frozen> {
    match &spec.source {
        VolumeSource::Snapshot(name) => {
            let (found, snapshot) = start::hold(pool, name, Mode::Shared)?;
            if let Some(wanted) = spec.consistency
                && wanted != found.content.consistency
            {
                let has = found.content.consistency.as_str();
                let why = format!("its consistency is {has}, {} was requested", wanted.as_str());
                return Err(Error::new(ErrorKind::InvalidArgument, OPERATION, name, why)
                    .remedy("ask for no consistency, or make a new snapshot"));
            }
            let image = hold(pool, &found.content)?;
            let start::Start { content, store, .. } = found;
            Ok(Frozen { content, store, waited: None, _image: image, _snapshot: Some(snapshot) })
        }
        VolumeSource::Volume(id) => {
            let guard = lock::take(pool, id, OPERATION)?;
            let (record, observed) = prepare(pool, &guard, id)?;
            let device = observed.device(false);
            let source = Source { pool, guard: &guard, record: &record, device };
            let store = assembly.store();
            let cut = source.cut(&store, spec.consistency)?;
            let held = settle(&source, &store)?;
            // A name that no snapshot has had, since the instant is in the record too.
            let content = describe(&record, &Key::random().to_string(), held, cut);
            let image = hold(pool, &content)?;
            let waited = Some(cut.waited);
            Ok(Frozen { content, store, waited, _image: image, _snapshot: None })
        }
    }
}

/// Takes the lock that keeps the template's content in place.
pub(super) fn hold(pool: &PoolDir, content: &SnapshotRecord) -> Result<Lock> {
    let image = pool.lock_image(&content.digest, Mode::Shared)?;
    check_content(pool, &content.digest, content.template_size)?;
    Ok(image)
}

fn put_together(
    pool: &PoolDir,
    frozen: &Frozen,
    assembly: &Assembly<'_>,
    spec: &CommitSpec,
) -> Result<Shares> {
    let SnapshotRecord { size, chunk_size, digest, .. } = &frozen.content;
    let pieces = pieces_of(pool, &frozen.content, &frozen.store, OPERATION)?;
    // The last chunk is put in its place as a whole, then the content is cut to its size.
    let base = assembly.start_from(digest, size.next_multiple_of(*chunk_size))?;
    let written = assembly.place(&frozen.store, &pieces, &spec.cancel)?;
    assembly.finish(*size)?;
    Ok(base + written)
}

/// The parts of the store at `path` that are in place of the template's content.
pub(super) fn pieces_of(
    pool: &PoolDir,
    content: &SnapshotRecord,
    path: &Path,
    operation: &'static str,
) -> Result<Vec<Piece>> {
    let host = pool.host();
    if host.store_header(path)? == StoreHeader::New {
        return Ok(Vec::new());
    }
    let failed = |e| Error::io("read", path.display(), e);
    let store = host.open_image(path, OpenMode::Read)?;
    let SnapshotRecord { size: volume, chunk_size: chunk, .. } = *content;
    let shape = Shape { volume, store: store.status().map_err(failed)?.length, chunk };
    let fill = |at, buffer: &mut [u8]| match store.fill_from(buffer, at)? {
        filled if filled == buffer.len() => Ok(()),
        _ => Err(std::io::ErrorKind::UnexpectedEof.into()),
    };
    pieces::pieces(shape, fill).map_err(failed)?.map_err(|flaw| {
        let why = format!("its COW store is damaged: {flaw}");
        Error::new(ErrorKind::Corrupt, operation, path.display(), why)
            .remedy("its content cannot be trusted: make the snapshot or the volume anew")
    })
}
