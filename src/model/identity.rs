//! What identifies a snapshot, in whichever pool it is.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::model::key::PoolId;

/// What identifies what a snapshot holds, in the pool where it was made and in those that it was imported into: 64
/// lower-case hexadecimal digits.
///
/// Nothing of the content is read for it: a snapshot never changes, so where and when it was made says which it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotIdentity(String);

impl SnapshotIdentity {
    /// Of the snapshot `name` of the volume `volume` that was made in a pool at a time. None of them ever changes.
    pub(crate) fn of(pool: &PoolId, name: &str, volume: &str, created: Timestamp) -> Self {
        // Names and ids have no control characters.
        let made = format!("{pool}\n{name}\n{volume}\n{}\n", created.as_nanosecond());
        Self(hex::encode(Sha256::digest(made)))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SnapshotIdentity {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        match text.len() == 64 && text.bytes().all(is_digit) {
            true => Ok(Self(text)),
            false => Err(format!("identity cannot be {text:.80?}")),
        }
    }
}

impl From<SnapshotIdentity> for String {
    fn from(identity: SnapshotIdentity) -> Self {
        identity.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_says_where_and_when() {
        let pool = PoolId::random();
        let other = PoolId::random();
        let (first, second) = (Timestamp::UNIX_EPOCH, Timestamp::from_nanosecond(1).unwrap());
        let identity = SnapshotIdentity::of(&pool, "s", "v", first);
        assert_eq!(identity, SnapshotIdentity::of(&pool, "s", "v", first));
        for different in [
            SnapshotIdentity::of(&other, "s", "v", first),
            SnapshotIdentity::of(&pool, "t", "v", first),
            SnapshotIdentity::of(&pool, "s", "w", first),
            SnapshotIdentity::of(&pool, "s", "v", second),
        ] {
            assert_ne!(identity, different);
        }
        let text = serde_json::to_string(&identity).unwrap();
        assert_eq!(serde_json::from_str::<SnapshotIdentity>(&text).unwrap(), identity);
        for bad in ["\"\"", "\"0A\"", &format!("\"{}\"", "G".repeat(64)), "1"] {
            assert!(serde_json::from_str::<SnapshotIdentity>(bad).is_err(), "{bad}");
        }
    }
}
