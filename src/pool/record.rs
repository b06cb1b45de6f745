//! What a pool remembers on disk: three small JSON records, each replaced atomically.
//!
//! Records are refused when they hold an unknown field or a format that this version does not
//! know: a newer calf's pool is never damaged by an older one.

use std::fs;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::key::PoolId;

/// The version of the pool's layout and records that this calf reads and writes.
pub const FORMAT: u32 = 1;

/// `pool.json`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolRecord {
    /// Version of layout and records.
    pub format: u32,
    /// Identity of the pool, part of each device's UUID.
    pub id: PoolId,
    /// When it was made.
    pub created: Timestamp,
}

/// `templates/<name>.json`: what a name points to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TemplateRecord {
    /// The template's name.
    pub name: String,
    /// SHA-256 of the content, in hexadecimal.
    pub digest: String,
    /// Size of the content in bytes; the least size of a volume.
    pub size: u64,
    /// File system found in the content's superblock, as `mount` names it.
    pub fs_type: Option<String>,
    /// Block size of that file system, in bytes.
    pub fs_block_size: Option<u32>,
    /// When the name was last pointed to this content.
    pub created: Timestamp,
    /// Where the content came from, for people.
    pub source: String,
}

/// `volumes/<key>/volume.json`: the intent behind one volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct VolumeRecord {
    /// The volume's id (CSI `volume_id`).
    pub id: String,
    /// Name of the template at the time of creation, for people.
    pub template: String,
    /// Content that the volume started from, SHA-256 in hexadecimal.
    pub digest: String,
    /// Size of that content, in bytes.
    pub template_size: u64,
    /// File system in that content.
    pub fs_type: Option<String>,
    /// Size of the block device, in bytes.
    pub size: u64,
    /// Most bytes that may be written, rounded to chunks; `None` for all of `size`.
    pub cow_limit: Option<u64>,
    /// Chunk size in bytes.
    pub chunk_size: u64,
    /// What a reboot or crash of the node may cost.
    pub durability: Durability,
    /// Owner of the published device node.
    pub owner: NodeOwner,
    /// How the volume is made.
    pub backing: Backing,
    /// Made by an inline ephemeral Publish; deleted by its Unpublish.
    pub inline: bool,
    /// Mount access is given to Kata: the guest mounts the file system, the host never does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kata_direct: bool,
    /// The boot in which the COW store was made. In a later boot, the store of an `ephemeral`
    /// volume may be torn, and is replaced.
    pub boot: String,
    /// When it was created.
    pub created: Timestamp,
}

/// What a reboot or a crash of the node may cost a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Flushes are elided, and the content lives as long as the boot: after any reboot, clean or
    /// not, the volume starts from its template again.
    #[default]
    Ephemeral,
    /// Flushes are honoured: what was synced survives reboots and crashes.
    Durable,
}

/// How a volume's private content is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backing {
    /// A dm-snapshot of the template.
    Snapshot,
    /// Fallback: a reflink copy of the template.
    Reflink,
    /// Fallback: a full (sparse) copy of the template.
    Copy,
}

/// Owner and mode of a published device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeOwner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

impl Default for NodeOwner {
    /// `root:root 0600`
    fn default() -> Self {
        Self { uid: 0, gid: 0, mode: 0o600 }
    }
}

/// Reads the record at `path`; `None` if there is none.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return Err(Error::io("read record", path.display(), e)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|e| {
        Error::new(ErrorKind::Corrupt, "read record", path.display(), e).remedy(
            "the record was edited by hand or written by a newer calf; restore it or upgrade",
        )
    })
}

/// The bytes of a record as it stands on disk.
pub fn to_bytes(record: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(record).expect("records have string keys only");
    bytes.push(b'\n');
    bytes
}
