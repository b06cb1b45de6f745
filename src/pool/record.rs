//! The pool's records on disk: small JSON files, each replaced atomically.
//!
//! calf refuses records with unknown fields, and pools with an unknown format, so that it never
//! damages the pool of a newer version. It also refuses records with values that make no sense, as
//! after an edit by hand, since the values become paths and tables.
//!
//! # Formats
//!
//! | format | what is new |
//! | --- | --- |
//! | 1 | |
//! | 2 | volumes: `reserve`, `ttl`, `target`, `kataDirect` |
//! | 3 | templates: `warm`; spares |
//! | 4 | volumes: `source`; snapshots |
//! | 5 | content that was committed and not read: `digest` starts with `commit-` |
//! | 6 | snapshots: `group`; groups |
//! | 7 | snapshots: `imported` |
//! | 8 | stores of volumes with an overlay |
//!
//! Every record of one format is also valid in the next. The format of a pool is raised only when
//! the first record that needs it is about to be written. Until then, an older calf can still use
//! the pool.

use std::path::Path;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cow;
use crate::error::{Error, ErrorKind, Result};
use crate::model::digest::Digest;
use crate::model::key::{Key, PoolId};
use crate::model::limits::{MAX_SIZE, MAX_WARM, SECTOR};
use crate::model::policy::{Backing, Durability, NodeOwner, Reserve};
use crate::model::snapshot::VolumeSource;
use crate::model::{template_name, volume_id};
use crate::sys::Host;

/// The formats of layout and records that this calf reads and writes.
pub const FORMATS: std::ops::RangeInclusive<u32> = 1..=8;

/// The first format in which a pool may contain spares.
pub(crate) const SPARES_FORMAT: u32 = 3;

/// The first format in which a pool may contain snapshots.
pub(crate) const SNAPSHOTS_FORMAT: u32 = 4;

/// The first format in which a pool may contain content that is not identified by its SHA-256.
pub(crate) const COMMITS_FORMAT: u32 = 5;

/// The first format in which snapshots may be part of a group.
pub(crate) const GROUPS_FORMAT: u32 = 6;

/// The first format in which snapshots may come from another pool.
pub(crate) const IMPORTS_FORMAT: u32 = 7;

/// The format from which on a volume may have an overlay: an older calf would use its store without it.
pub(crate) const OVERLAYS_FORMAT: u32 = 8;

/// Maximum size of a record in bytes: many times the size of the largest.
pub(crate) const MAX_RECORD: u64 = 64 << 10;

/// The remedy for a record that cannot be used.
const RESTORE: &str = "it was edited by hand, damaged, or written by a newer calf: restore it or upgrade; \
     to give up what it describes, move its directory out of the pool and run `calf reconcile`";

/// A kind of record.
pub trait Record: DeserializeOwned {
    /// Checks the record's values, or returns what is wrong.
    fn check(&self) -> Result<(), String>;
}

/// `pool.json`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolRecord {
    /// Version of layout and records.
    pub format: u32,
    /// Identity of the pool, part of each device's UUID.
    pub id: PoolId,
    /// When the pool was made.
    pub created: Timestamp,
}

/// `templates/<name>.json`: what a name points to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct TemplateRecord {
    /// The template's name.
    pub name: String,
    /// What identifies the content.
    pub digest: Digest,
    /// Size of the content in bytes; the smallest size of a volume.
    pub size: u64,
    /// File system found in the content's superblock, as `mount` names it.
    pub fs_type: Option<String>,
    /// Block size of that file system, in bytes.
    pub fs_block_size: Option<u32>,
    /// When the name was last pointed to this content.
    pub created: Timestamp,
    /// Source of the content, for people.
    pub source: String,
    /// Number of spare devices to keep ready (format 3).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub warm: u32,
}

/// `volumes/<key>/volume.json`: the intent behind one volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct VolumeRecord {
    /// The volume's id (CSI `volume_id`).
    pub id: String,
    /// Name of the template at the time of creation, for people.
    pub template: String,
    /// The template's content that the volume started from.
    pub digest: Digest,
    /// Size of that content, in bytes.
    pub template_size: u64,
    /// File system in that content.
    pub fs_type: Option<String>,
    /// Size of the block device, in bytes.
    pub size: u64,
    /// Maximum number of bytes that may be written, rounded to chunks; `None` for the whole `size`.
    pub cow_limit: Option<u64>,
    /// Chunk size in bytes.
    pub chunk_size: u64,
    /// What survives a reboot or a crash of the node.
    pub durability: Durability,
    /// Owner of the published device node.
    pub owner: NodeOwner,
    /// How the volume is made.
    pub backing: Backing,
    /// The volume is made by an inline ephemeral Publish, and deleted by its Unpublish.
    pub inline: bool,
    /// Kata handles mount access: the guest mounts the file system, the host never does (format 2).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kata_direct: bool,
    /// The boot in which the COW store was made. In a later boot, the store of an `ephemeral`
    /// volume may be torn, and is replaced.
    pub boot: String,
    /// When the volume was created.
    pub created: Timestamp,
    /// How much of the pool's space is reserved for the volume (format 2).
    #[serde(default, skip_serializing_if = "Reserve::is_none")]
    pub reserve: Reserve,
    /// Age in seconds at which reconciliation deletes the volume, if it is unused (format 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// Path at which an inline volume was first published. If the directory of the path is gone, so
    /// is the volume's pod (format 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What the volume started from, other than the template's content (format 4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<VolumeSource>,
    /// The token of the cut that a fork of another volume started from (format 4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<String>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Reads the record at `path`; `None` if there is none. `Corrupt` if the record cannot be parsed,
/// or has impossible values.
pub fn read<T: Record>(host: &dyn Host, path: &Path) -> Result<Option<T>> {
    read_text(host, path)?.map(|text| understand(path, &text)).transpose()
}

/// Like [`read`], but also returns `None` for a record that cannot be used.
pub(crate) fn read_usable<T: Record>(host: &dyn Host, path: &Path) -> Result<Option<T>> {
    match read(host, path) {
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
        read => read,
    }
}

/// Reads the text of the record at `path`; `None` if there is none.
pub(crate) fn read_text(host: &dyn Host, path: &Path) -> Result<Option<Vec<u8>>> {
    host.read_file(path, MAX_RECORD).map_err(|error| match error.kind() {
        ErrorKind::Corrupt => error.remedy(RESTORE),
        _ => error,
    })
}

/// Parses the text of the record at `path`; `Corrupt` if it cannot be parsed, or has impossible
/// values.
pub(crate) fn understand<T: Record>(path: &Path, text: &[u8]) -> Result<T> {
    parse(text).map_err(|why| corrupt(path, why))
}

/// Whether a record has no content, as a loss of power may leave a first record: it is empty, or
/// all zeros if the file system writes out lengths before data.
pub(crate) fn is_blank(text: &[u8]) -> bool {
    text.iter().all(|byte| *byte == 0)
}

/// Parses and checks a record, or returns what is wrong with it.
pub(crate) fn parse<T: Record>(text: &[u8]) -> Result<T, String> {
    let record: T = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    record.check()?;
    Ok(record)
}

/// Returns the error for a record that cannot be used.
pub(crate) fn corrupt(path: &Path, why: String) -> Error {
    Error::new(ErrorKind::Corrupt, "read record", path.display(), why).remedy(RESTORE)
}

/// Formats a record as it is stored on disk.
pub fn to_bytes(record: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(record).expect("records have string keys only");
    bytes.push(b'\n');
    bytes
}

pub(crate) fn require(holds: bool, field: &str, what: impl std::fmt::Debug) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{field} cannot be {what:?}")) }
}

/// What is true of every disk of a template: its size, and that of its chunks.
pub(crate) fn require_sizes(template_size: u64, size: u64, chunk_size: u64) -> Result<(), String> {
    require(is_device_size(template_size), "templateSize", template_size)?;
    require(is_device_size(size), "size", size)?;
    require(size >= template_size, "size", size)?;
    require(cow::is_chunk_size(chunk_size), "chunkSize", chunk_size)
}

fn is_device_size(size: u64) -> bool {
    size > 0 && size.is_multiple_of(SECTOR) && size <= MAX_SIZE
}

// === impl Record ===

impl Record for PoolRecord {
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

impl Record for TemplateRecord {
    fn check(&self) -> Result<(), String> {
        require(template_name::is_valid(&self.name), "name", &self.name)?;
        require(is_device_size(self.size), "size", self.size)?;
        require(self.warm <= MAX_WARM, "warm", self.warm)
    }
}

impl Record for VolumeRecord {
    fn check(&self) -> Result<(), String> {
        require(volume_id::is_valid(&self.id), "id", &self.id)?;
        require_sizes(self.template_size, self.size, self.chunk_size)?;
        require(self.owner.mode <= 0o777, "owner.mode", self.owner.mode)?;
        require(self.owner.uid != u32::MAX, "owner.uid", self.owner.uid)?;
        require(self.owner.gid != u32::MAX, "owner.gid", self.owner.gid)?;
        let cut = self.cut.as_deref().is_none_or(|cut| Key::parse(cut).is_some());
        require(cut && (self.cut.is_none() || self.source.is_some()), "cut", &self.cut)?;
        match &self.source {
            Some(VolumeSource::Snapshot(name) | VolumeSource::Volume(name)) => {
                require(volume_id::is_valid(name), "source", name)?;
                require(self.backing == Backing::Snapshot, "backing", self.backing)
            }
            None => Ok(()),
        }
    }
}

// === impl TemplateRecord ===

impl TemplateRecord {
    /// Returns the oldest format that supports all values of the record.
    pub(crate) fn format(&self) -> u32 {
        match self.digest.sha256() {
            None => COMMITS_FORMAT,
            Some(_) if self.warm > 0 => SPARES_FORMAT,
            Some(_) => 1,
        }
    }
}

// === impl VolumeRecord ===

impl VolumeRecord {
    /// Returns the oldest format that supports all values of the record.
    pub(crate) fn format(&self) -> u32 {
        let new = !self.reserve.is_none()
            || self.ttl.is_some()
            || self.target.is_some()
            || self.kata_direct;
        match self.source {
            _ if self.digest.sha256().is_none() => COMMITS_FORMAT,
            Some(_) => SNAPSHOTS_FORMAT,
            None if new => 2,
            None => 1,
        }
    }

    /// Returns the key of the volume's directory.
    pub(crate) fn key(&self) -> Key {
        Key::of(&self.id)
    }

    /// Returns when the volume expires, if ever: reconciliation then deletes it, if it is unused.
    pub fn expires(&self) -> Option<Timestamp> {
        let ttl = i64::try_from(self.ttl?).ok()?;
        self.created.checked_add(jiff::SignedDuration::from_secs(ttl)).ok()
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
