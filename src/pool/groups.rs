//! The records of groups: snapshots of several volumes as of one instant.
//!
//! A group has a directory of its own among those of snapshots, without the record of a snapshot. Its record is
//! written before the cut, and again when all of its snapshots are on the disk: until then there is no group,
//! and what exists of it is removed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::key::Key;
use crate::model::volume_id;
use crate::pool::record::{self, Record, require};
use crate::pool::{PoolDir, index, snapshots};

/// `snapshots/<key>/group.json`: which snapshots belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct GroupRecord {
    /// The group's name.
    pub name: String,
    /// The token of the cut, which the records of the snapshots have too.
    pub cut: String,
    /// The snapshots, ordered by their volumes.
    pub members: Vec<GroupMember>,
    /// Whether all of the snapshots are there.
    pub complete: bool,
    /// When the group was made.
    pub created: Timestamp,
}

/// One snapshot of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct GroupMember {
    /// Id of the volume.
    pub volume: String,
    /// Name of its snapshot.
    pub snapshot: String,
}

impl Record for GroupRecord {
    fn check(&self) -> Result<(), String> {
        require(volume_id::is_valid(&self.name), "name", &self.name)?;
        require(Key::parse(&self.cut).is_some(), "cut", &self.cut)?;
        for GroupMember { volume, snapshot } in &self.members {
            require(volume_id::is_valid(volume), "members.volume", volume)?;
            require(volume_id::is_valid(snapshot), "members.snapshot", snapshot)?;
        }
        Ok(())
    }
}

/// The key of the directory of the group whose name has the key `name`: that of no snapshot and no fork, since no name
/// of a snapshot or volume has control characters.
pub(crate) fn directory(name: &Key) -> Key {
    Key::of(&format!("\ngroup\n{name}"))
}

/// Reads the record in the directory with this key; `None` if there is none.
pub(crate) fn read(pool: &PoolDir, key: &Key) -> Result<Option<GroupRecord>> {
    let path = pool.layout().group_record(key);
    match record::read::<GroupRecord>(pool.host(), &path)? {
        Some(record) if directory(&Key::of(&record.name)) != *key => {
            Err(record::corrupt(&path, format!("it is the record of group {}", record.name)))
        }
        record => Ok(record),
    }
}

/// Finds the group whose name has the key `name`; `None` if there is none, or if it is not complete.
pub(crate) fn find(pool: &PoolDir, name: &Key) -> Result<Option<GroupRecord>> {
    Ok(read(pool, &directory(name))?.filter(|record| record.complete))
}

/// Lists all groups that are complete and whose records can be read, sorted by name, and the errors of the
/// others.
pub(crate) fn survey(pool: &PoolDir) -> Result<(Vec<GroupRecord>, Vec<Error>)> {
    let (mut records, damaged) = index::survey(snapshots::keys(pool)?, |key| {
        Ok(read(pool, key)?.filter(|record| record.complete))
    })?;
    records.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((records, damaged))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_values_are_refused() {
        let good = GroupRecord {
            name: "g".into(),
            cut: "0".repeat(32),
            members: vec![GroupMember { volume: "v".into(), snapshot: "g.v".into() }],
            complete: true,
            created: Timestamp::UNIX_EPOCH,
        };
        assert_eq!(record::parse::<GroupRecord>(&record::to_bytes(&good)), Ok(good.clone()));
        type Change = fn(&mut GroupRecord);
        let changes: [(&str, Change); 4] = [
            ("name", |r| r.name = "a\nb".into()),
            ("cut", |r| r.cut = "cut".into()),
            ("members.volume", |r| r.members[0].volume = String::new()),
            ("members.snapshot", |r| r.members[0].snapshot = "x".repeat(129)),
        ];
        for (field, change) in changes {
            let mut bad = good.clone();
            change(&mut bad);
            let why = record::parse::<GroupRecord>(&record::to_bytes(&bad)).expect_err(field);
            assert!(why.starts_with(field), "{field}: {why}");
        }
    }
}
