//! The head of a stream: what the snapshot is, and what the stream has of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::digest::Digest;
use crate::model::identity::SnapshotIdentity;
use crate::model::snapshot::Consistency;
use crate::model::{template_name, volume_id};
use crate::pool::record::{Record, require, require_sizes};

/// The first section, as JSON. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Head {
    /// The snapshot's name in the pool that it comes from, for people.
    pub(crate) snapshot: String,
    /// What identifies it in every pool.
    pub(crate) identity: SnapshotIdentity,
    /// Id of the volume that it was made of.
    pub(crate) volume: String,
    /// Name of the template in the pool that it comes from, for people.
    pub(crate) template: String,
    /// The template's content, which is not in the stream.
    pub(crate) digest: Digest,
    pub(crate) template_size: u64,
    /// Size of the volume.
    pub(crate) size: u64,
    pub(crate) chunk_size: u64,
    /// Number of chunks that were written, those of the base included.
    pub(crate) chunks: u64,
    pub(crate) consistency: Consistency,
    /// When the snapshot was made.
    pub(crate) created: Timestamp,
    /// The snapshot that it has to be put upon; none if the stream has all that was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base: Option<Base>,
    /// Number of chunks that the stream tells as zeros or data.
    pub(crate) told: u64,
}

/// An earlier snapshot of the volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Base {
    /// Its name in the pool that the stream comes from, for people.
    pub(crate) snapshot: String,
    pub(crate) identity: SnapshotIdentity,
}

impl Head {
    /// Number of chunks of the volume.
    pub(super) fn volume_chunks(&self) -> u64 {
        self.size.div_ceil(self.chunk_size)
    }
}

impl Record for Head {
    fn check(&self) -> Result<(), String> {
        require(volume_id::is_valid(&self.snapshot), "snapshot", &self.snapshot)?;
        require(volume_id::is_valid(&self.volume), "volume", &self.volume)?;
        require(template_name::is_valid(&self.template), "template", &self.template)?;
        require_sizes(self.template_size, self.size, self.chunk_size)?;
        require(self.chunks <= self.volume_chunks(), "chunks", self.chunks)?;
        require(self.told <= self.chunks, "told", self.told)?;
        match &self.base {
            None => require(self.told == self.chunks, "told", self.told),
            Some(base) => {
                require(volume_id::is_valid(&base.snapshot), "base.snapshot", &base.snapshot)
            }
        }
    }
}
