//! What a new volume starts from, as the driver looks at it before it makes the volume.

use crate::error::Result;
use crate::model::key::Key;
use crate::model::policy::Backing;
use crate::model::snapshot::VolumeSource;
use crate::model::volume::VolumeSpec;
use crate::pool::PoolDir;
use crate::pool::record::{TemplateRecord, VolumeRecord};
use crate::pool::snapshots::{self, SnapshotRecord};
use crate::template::catalog;
use crate::volume::activate;
use crate::volume::growth::{self, Growing};
use crate::volume::machine::observe;
use crate::volume::mountable::Content;
use crate::volume::provision;
use crate::volume::start;

/// What a new volume starts from.
pub(crate) enum Basis {
    /// The content of a template.
    Template(TemplateRecord),
    /// A snapshot.
    Snapshot(SnapshotRecord),
    /// What another volume holds.
    Volume(VolumeRecord),
}

impl Basis {
    /// Finds what the volume of `spec` is to start from.
    ///
    /// # Errors
    ///
    /// `NotFound`; `Corrupt` if its record cannot be read.
    pub(crate) fn find(pool: &PoolDir, spec: &VolumeSpec) -> Result<Self> {
        match &spec.source {
            None => catalog::template(pool, "find", &spec.template).map(Self::Template),
            Some(VolumeSource::Snapshot(name)) => {
                let record = snapshots::read(pool, &Key::of(name))?;
                record.map(Self::Snapshot).ok_or_else(|| start::unknown("use snapshot", name))
            }
            Some(VolumeSource::Volume(id)) => {
                let record = observe::read_record(pool, &Key::of(id))?;
                record.map(Self::Volume).ok_or_else(|| activate::unknown(id))
            }
        }
    }

    /// Its size in bytes: the smallest that the new volume can have.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Template(template) => template.size,
            Self::Snapshot(snapshot) => snapshot.size,
            Self::Volume(volume) => volume.size,
        }
    }

    /// The content of the template below it.
    pub(crate) fn content(&self) -> Content<'_> {
        match self {
            Self::Template(template) => Content::of_template(template),
            Self::Snapshot(snapshot) => Content::of_snapshot(snapshot),
            Self::Volume(volume) => Content::of_volume(volume),
        }
    }

    /// What it is, for people.
    pub(crate) fn described(&self) -> String {
        match self {
            Self::Template(template) => format!("template {}", template.name),
            Self::Snapshot(snapshot) => format!("snapshot {}", snapshot.name),
            Self::Volume(volume) => format!("volume {}", volume.id),
        }
    }

    /// Refuses a new volume whose file system the host would have to grow, with writes that do not fit into
    /// its `cow_limit` or into the pool. `content` is [`content`](Self::content), which reads the superblock once.
    ///
    /// The file system of a snapshot or a volume counts as one that fills it. If it does not, the estimate is
    /// too low, and the growth itself may be refused later.
    pub(crate) fn check_growth(
        &self,
        pool: &PoolDir,
        spec: &VolumeSpec,
        backing: Backing,
        content: &Content<'_>,
    ) -> Result<()> {
        if spec.size.is_none_or(|size| size == self.size()) {
            return Ok(());
        }
        let boot = pool.host().boot_id()?;
        let growing = match self {
            Self::Template(template) => Growing {
                record: provision::record(spec, template, backing, boot)?,
                from: None,
                held: 0,
            },
            Self::Snapshot(snapshot) => Growing {
                record: provision::record_of_copy(spec, snapshot, boot)?,
                from: Some(snapshot.size),
                held: snapshot.chunks.saturating_mul(snapshot.chunk_size),
            },
            Self::Volume(volume) => Growing {
                record: VolumeRecord {
                    size: spec.size.unwrap_or(volume.size),
                    cow_limit: spec.cow_limit,
                    reserve: spec.reserve,
                    ..volume.clone()
                },
                from: Some(volume.size),
                held: 0,
            },
        };
        growth::check_new(pool, &growing, content)
    }
}
