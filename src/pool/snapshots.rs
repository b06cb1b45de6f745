//! The snapshots of a pool: their records.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cow;
use crate::error::{Error, ErrorKind, Result};
use crate::model::digest::Digest;
use crate::model::identity::SnapshotIdentity;
use crate::model::key::{Key, PoolId};
use crate::model::snapshot::Consistency;
use crate::model::{template_name, volume_id};
use crate::pool::record::{self, Record, require, require_sizes};
use crate::pool::{PoolDir, index};
use crate::sys::FileKind;

/// `snapshots/<key>/snapshot.json`: what a volume held at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct SnapshotRecord {
    /// The snapshot's name.
    pub name: String,
    /// Id of the volume that it was made of. The volume may be gone.
    pub volume: String,
    /// Name of the volume's template, for people.
    pub template: String,
    /// The template's content that the COW store rests on.
    pub digest: Digest,
    /// Size of that content, in bytes.
    pub template_size: u64,
    /// File system in that content.
    pub fs_type: Option<String>,
    /// Size of the volume, in bytes; the smallest size of a volume that starts from the snapshot.
    pub size: u64,
    /// Chunk size of the COW store, in bytes.
    pub chunk_size: u64,
    /// Number of chunks that were written.
    pub chunks: u64,
    /// Bytes from the start of the COW store that hold something; 0 if it was never used.
    pub stored: u64,
    /// In which state the content is.
    pub consistency: Consistency,
    /// When the snapshot was made.
    pub created: Timestamp,
    /// The group that it is part of: snapshots of several volumes as of one instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupMembership>,
    /// How it came into this pool, if it was made in another (format 7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<SnapshotImport>,
}

/// How a snapshot came into a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct SnapshotImport {
    /// What identifies it in every pool.
    pub identity: SnapshotIdentity,
    /// When it came.
    pub time: Timestamp,
}

/// The group that a snapshot is part of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct GroupMembership {
    /// The group's name.
    pub name: String,
    /// The token of the cut, which the group's record has too.
    pub cut: String,
}

/// `snapshots/<key>/fork.json`: the volumes that are being made of one cut of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ForkRecord {
    /// Id of the volume that they start from.
    pub(crate) volume: String,
    /// The token of the cut, which their records have too.
    pub(crate) cut: String,
    /// Their ids.
    pub(crate) volumes: Vec<String>,
}

/// Reads the record of the fork with this key; `None` if there is none.
pub(crate) fn read_fork(pool: &PoolDir, key: &Key) -> Result<Option<ForkRecord>> {
    record::read(pool.host(), &pool.layout().fork_record(key))
}

/// Reads the record of the snapshot with this key; `None` if there is none, `Corrupt` if it cannot be used
/// or belongs to another snapshot.
pub(crate) fn read(pool: &PoolDir, key: &Key) -> Result<Option<SnapshotRecord>> {
    let directory = pool.layout().snapshot_directory(key);
    match pool.host().file(&directory)?.map(|found| found.kind) {
        None => return Ok(None),
        Some(FileKind::Directory) => {}
        Some(_) => return Err(replaced(&directory)),
    }
    let path = pool.layout().snapshot_record(key);
    match record::read::<SnapshotRecord>(pool.host(), &path)? {
        Some(record) if record.key() != *key => {
            Err(record::corrupt(&path, format!("it is the record of snapshot {}", record.name)))
        }
        record => Ok(record),
    }
}

/// The error for something else in the place of a snapshot's directory, such as a symlink, which could
/// lead anywhere.
fn replaced(directory: &Path) -> Error {
    let why = "it was replaced by something that is not a directory";
    Error::new(ErrorKind::Corrupt, "inspect snapshot", directory.display(), why)
        .remedy("put the snapshot's directory back, or remove the replacement")
}

/// Lists the keys of all directories under `snapshots`, sorted.
pub(crate) fn keys(pool: &PoolDir) -> Result<Vec<Key>> {
    index::keys_in(pool, &pool.layout().snapshots())
}

/// Lists all snapshots whose records can be read, sorted by name, and the errors of the others.
pub(crate) fn survey(pool: &PoolDir) -> Result<(Vec<SnapshotRecord>, Vec<Error>)> {
    let (mut records, damaged) = index::survey(keys(pool)?, |key| read(pool, key))?;
    records.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((records, damaged))
}

impl Record for SnapshotRecord {
    fn check(&self) -> Result<(), String> {
        require(volume_id::is_valid(&self.name), "name", &self.name)?;
        require(volume_id::is_valid(&self.volume), "volume", &self.volume)?;
        require(template_name::is_valid(&self.template), "template", &self.template)?;
        require_sizes(self.template_size, self.size, self.chunk_size)?;
        let most = self.size.div_ceil(self.chunk_size);
        require(self.chunks <= most, "chunks", self.chunks)?;
        let full = cow::store_size(self.size, None, self.chunk_size);
        let fits = self.stored <= full && self.stored.is_multiple_of(self.chunk_size);
        require(fits, "stored", self.stored)?;
        self.group.as_ref().map_or(Ok(()), |group| {
            require(volume_id::is_valid(&group.name), "group.name", &group.name)?;
            require(Key::parse(&group.cut).is_some(), "group.cut", &group.cut)
        })
    }
}

impl Record for ForkRecord {
    fn check(&self) -> Result<(), String> {
        require(volume_id::is_valid(&self.volume), "volume", &self.volume)?;
        require(Key::parse(&self.cut).is_some(), "cut", &self.cut)?;
        let bad = self.volumes.iter().find(|id| !volume_id::is_valid(id));
        require(bad.is_none(), "volumes", bad)
    }
}

impl SnapshotRecord {
    /// Returns the key of the snapshot's directory.
    pub(crate) fn key(&self) -> Key {
        Key::of(&self.name)
    }

    /// What identifies the snapshot in every pool; `pool` is the one that has this record.
    pub(crate) fn identity(&self, pool: &PoolId) -> SnapshotIdentity {
        match &self.imported {
            Some(import) => import.identity.clone(),
            None => SnapshotIdentity::of(pool, &self.name, &self.volume, self.created),
        }
    }

    /// Since when the snapshot has been in its pool.
    pub(crate) fn since(&self) -> Timestamp {
        self.imported.as_ref().map_or(self.created, |import| import.time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::sample;

    #[test]
    fn impossible_values_are_refused() {
        let good = sample::snapshot();
        let text = record::to_bytes(&good);
        assert_eq!(record::parse::<SnapshotRecord>(&text), Ok(good.clone()));
        type Change = fn(&mut SnapshotRecord);
        let changes: [(&str, Change); 11] = [
            ("name", |r| r.name = String::new()),
            ("volume", |r| r.volume = "a\nb".into()),
            ("template", |r| r.template = "../x".into()),
            ("size", |r| r.size = 4096),
            ("size", |r| r.size += 1),
            ("chunkSize", |r| r.chunk_size = 512),
            ("chunks", |r| r.chunks = 1 << 40),
            ("stored", |r| r.stored = 1 << 40),
            ("stored", |r| r.stored += 1),
            ("group.name", |r| {
                r.group = Some(GroupMembership { name: String::new(), cut: "0".repeat(32) });
            }),
            ("group.cut", |r| {
                r.group = Some(GroupMembership { name: "g".into(), cut: "cut".into() });
            }),
        ];
        for (field, change) in changes {
            let mut bad = good.clone();
            change(&mut bad);
            let why = record::parse::<SnapshotRecord>(&record::to_bytes(&bad)).expect_err(field);
            assert!(why.starts_with(field), "{field}: {why}");
        }
        let text = String::from_utf8(text).unwrap().replace("\"chunks\"", "\"more\"");
        assert!(record::parse::<SnapshotRecord>(text.as_bytes()).is_err());
    }
}
