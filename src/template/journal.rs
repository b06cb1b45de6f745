//! `import.json`: how far an import is, and what it reads.
//!
//! Each state is written before it is relied on. When the import is done, the record stays beside
//! the content, so that the same file is not read twice.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::download::Remote;
use super::hash::ContentHash;
use super::source::Identity;
use crate::error::Result;
use crate::pool::Pool;
use crate::pool::layout::Layout;
use crate::pool::record;

/// `import.json`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ImportRecord {
    /// The path or URL that it is read from, for people and for [`sweep`](super::sweep).
    pub(super) source: String,
    /// Which state of the source.
    pub(super) identity: Origin,
    /// When reading began.
    pub(super) started: Timestamp,
    pub(super) state: State,
}

/// Which source, and which state of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Origin {
    File(Identity),
    Remote(Remote),
}

impl Origin {
    /// Names the source, whatever its state: 16 hexadecimal digits.
    pub(super) fn id(&self) -> String {
        match self {
            Self::File(identity) => identity.id(),
            Self::Remote(remote) => remote.id(),
        }
    }

    /// Size of the content, in bytes.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::File(identity) => identity.size(),
            Self::Remote(remote) => remote.size,
        }
    }
}

impl record::Record for ImportRecord {
    fn check(&self) -> Result<(), String> {
        match &self.state {
            State::Complete { digest } if !record::is_digest(digest) => {
                Err(format!("digest cannot be {digest:?}"))
            }
            _ => Ok(()),
        }
    }
}

/// How far an import is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum State {
    /// What is before `offset` is durable and hashed. `cloned`: all is there, only the hash is not.
    Reading { offset: u64, hash: String, cloned: bool },
    /// All is durable, and this is its digest.
    Complete { digest: String },
}

/// Where reading begins.
pub(super) struct Start {
    pub(super) record: ImportRecord,
    pub(super) offset: u64,
    pub(super) hash: ContentHash,
    pub(super) cloned: bool,
}

impl ImportRecord {
    /// Where the import that this record is of goes on; `None` if it is complete or of no use.
    pub(super) fn resume(self) -> Option<Start> {
        let State::Reading { offset, hash, cloned } = &self.state else { return None };
        let (offset, cloned) = (*offset, *cloned);
        let hash = ContentHash::restore(hash)?;
        Some(Start { record: self, offset, hash, cloned })
    }
}

/// The record of complete content in its place, whatever it was read from.
pub(super) fn of_content(pool: &Pool, digest: &str) -> Result<Option<ImportRecord>> {
    let path = Layout::import_record(&pool.layout().image_directory(digest));
    let complete = State::Complete { digest: digest.to_owned() };
    Ok(record::read::<ImportRecord>(&path)?.filter(|record| record.state == complete))
}
