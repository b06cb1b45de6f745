//! Writes a snapshot to a stream, from which another pool makes the same.
//!
//! What was written is read from the COW store itself: neither a device nor the kernel is needed for it. The template's content
//! stays where it is; the other pool has its own copy.

use std::io::{self, Write};

use crate::cow::selection::{Selected, select};
use crate::error::{Error, ErrorKind, Result};
use crate::model::block_range::Ranges;
use crate::model::export::ExportSpec;
use crate::model::identity::SnapshotIdentity;
use crate::pool::PoolDir;
use crate::snapshot::blocks::{Held, differences};
use crate::snapshot::stream::{Base, Head, MAX_CONTENT, Summary, What, Writer};
use crate::sys::ImageFile;
use crate::template::spec::Progress;

const OPERATION: &str = "export snapshot";

/// How many bytes the disk is told of before they are read: chunks lie in the store in the order in which they were
/// written.
const AHEAD: u64 = 8 << 20;

/// A snapshot that was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// What identifies the snapshot in every pool.
    pub identity: SnapshotIdentity,
    /// What identifies the snapshot upon which the stream was made; `None` if it has all that was written.
    pub base: Option<SnapshotIdentity>,
    /// Bytes of the volume that the stream tells, zeros included.
    pub content: u64,
    /// Length of the stream, in bytes.
    pub length: u64,
    /// The SHA-256 of the stream, in hexadecimal digits: that of the file, if it is written to one.
    pub digest: String,
}

/// Writes the snapshot.
pub(crate) fn export(
    pool: &PoolDir,
    spec: &ExportSpec,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(Progress),
) -> Result<Exported> {
    if spec.compress && !cfg!(feature = "formats") {
        let why = "its content is to be compressed, and this build cannot";
        return Err(Error::new(ErrorKind::Unsupported, OPERATION, &spec.name, why)
            .remedy("build calf with the feature `formats`, or leave it uncompressed"));
    }
    let base = spec.base.as_deref().map(|base| Held::take(pool, base)).transpose()?;
    let held = Held::take(pool, &spec.name)?;
    let pieces = held.pieces(pool, OPERATION)?;
    let content = &held.start.content;
    let ranges = match &base {
        Some(base) => differences(pool, base, &held, &pieces)?,
        None => {
            let mut written = Ranges::new(content.size);
            pieces.iter().for_each(|piece| written.add(piece.to, piece.length));
            written
        }
    };
    let selected = select(&pieces, &ranges.into_vec(), content.chunk_size);
    let told = selected.iter().filter(|it| it.from.is_some()).map(|it| it.length).sum();
    let base = base.map(|base| Base {
        snapshot: base.start.content.name.clone(),
        identity: base.start.content.identity(pool.id()),
    });
    let head = Head {
        snapshot: content.name.clone(),
        identity: content.identity(pool.id()),
        volume: content.volume.clone(),
        template: content.template.clone(),
        digest: content.digest.clone(),
        template_size: content.template_size,
        size: content.size,
        chunk_size: content.chunk_size,
        chunks: content.chunks,
        consistency: content.consistency,
        created: content.created,
        base,
        told: told / content.chunk_size,
    };
    let store = held.open(pool)?;
    let export = Export { spec, head: &head, store: &*store, total: told };
    let Summary { digest, length } = export.write(&selected, out, progress)?;
    tracing::info!(snapshot = spec.name, base = spec.base, length, digest, "exported");
    let base = head.base.map(|base| base.identity);
    Ok(Exported { identity: head.identity, base, content: told, length, digest })
}

struct Export<'a> {
    spec: &'a ExportSpec,
    head: &'a Head,
    store: &'a dyn ImageFile,
    /// Bytes to be read.
    total: u64,
}

impl Export<'_> {
    fn write(
        &self,
        selected: &[Selected],
        out: &mut dyn Write,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Summary> {
        let written = |e| Error::io("write the export of snapshot", &self.spec.name, e);
        let chunk = self.head.chunk_size;
        let mut stream = Writer::begin(out, self.head, self.spec.compress).map_err(written)?;
        let mut buffer = vec![0; MAX_CONTENT];
        let (mut done, mut told) = (0, 0);
        let mut coming = selected.iter().filter_map(|part| Some((part.from?, part.length)));
        for part in selected {
            while told < done + AHEAD
                && let Some((from, length)) = coming.next()
            {
                self.store.read_ahead(from, length.min(AHEAD));
                told += length;
            }
            let Some(from) = part.from else {
                let (first, count) = (part.to / chunk, part.length / chunk);
                stream.blank(first, count, What::Template).map_err(written)?;
                continue;
            };
            for at in (0..part.length).step_by(MAX_CONTENT) {
                if self.spec.cancel.is_requested() {
                    let why = "the caller cancelled it";
                    return Err(Error::new(ErrorKind::Cancelled, OPERATION, &self.spec.name, why)
                        .remedy("repeat the call: it begins anew"));
                }
                let step = (part.length - at).min(MAX_CONTENT as u64);
                let bytes = &mut buffer[..usize::try_from(step).unwrap_or(MAX_CONTENT)];
                self.read(bytes, from + at, part.to + at)
                    .map_err(|e| Error::io("read the store of snapshot", &self.spec.name, e))?;
                let chunks = bytes.chunks_exact(usize::try_from(chunk).unwrap_or(usize::MAX));
                for (number, content) in ((part.to + at) / chunk..).zip(chunks) {
                    stream.chunk(number, content).map_err(written)?;
                }
                done += step;
                progress(Progress { done, total: Some(self.total) });
            }
        }
        stream.end().map_err(written)
    }

    /// Reads chunks from the store, as a device shows them: without what the last has behind the end of the volume.
    fn read(&self, bytes: &mut [u8], from: u64, to: u64) -> io::Result<()> {
        if self.store.fill_from(bytes, from)? < bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let shown = usize::try_from(self.head.size.saturating_sub(to)).unwrap_or(usize::MAX);
        if let Some(hidden) = bytes.get_mut(shown..) {
            hidden.fill(0);
        }
        Ok(())
    }
}
