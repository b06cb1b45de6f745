//! `import.json`: how far an import is, and what it reads.
//!
//! Each state is written before it is relied on. When the import is done, the record stays beside
//! the content, so that the same file is not read twice.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::Result;
use crate::model::digest::Digest;
use crate::model::partition::Partition;
use crate::pool::layout::Layout;
use crate::pool::{PoolDir, record};
use crate::template::import::hash::ContentHash;
use crate::template::import::source::Identity;
use crate::template::import::source::remote::Remote;

/// `import.json`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ImportRecord {
    /// The path or URL that it is read from, for people and for [`abandoned`](super::abandoned).
    pub(crate) source: String,
    /// Which state of the source.
    pub(crate) identity: Origin,
    /// When reading began.
    pub(crate) started: Timestamp,
    pub(crate) state: State,
}

/// Which source, and which state of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Origin {
    File(Identity),
    Remote(Remote),
    Input(Input),
    Empty(Empty),
    Derived(Derived),
}

/// A file system without files, for which nothing is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Empty {
    /// Its kind, such as ext4.
    pub(crate) empty: String,
    /// Its size, in bytes.
    pub(crate) size: u64,
}

/// Standard input, which can be read only once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Input {
    /// Distinguishes imports: random, in hexadecimal.
    pub(crate) import: String,
}

/// Content that is not simply the bytes of a source: it was unpacked, a part, or read from a stream. An
/// interrupted import of it begins anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Derived {
    pub(crate) of: Box<Origin>,
    /// Which partition of a disk it is.
    pub(crate) partition: Option<String>,
    /// The options by which it was made of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) making: Option<String>,
    /// What of the source and of the content is known once all was read.
    pub(crate) read: Option<Read>,
}

/// What is known of a source that was read to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Read {
    /// Size of the content, in bytes.
    pub(crate) size: u64,
    /// SHA-256 of the source as it is, such as a compressed file.
    pub(crate) source_digest: Digest,
}

impl Derived {
    /// Content of which nothing was read yet.
    pub(crate) fn new(of: Origin, partition: Option<&Partition>) -> Self {
        Self {
            of: Box::new(of),
            partition: partition.map(ToString::to_string),
            making: None,
            read: None,
        }
    }

    /// The same, made with these options.
    #[cfg(feature = "formats")]
    pub(crate) fn with(self, making: Option<String>) -> Self {
        Self { making, ..self }
    }
}

impl Origin {
    /// Names the source, whatever its state: 16 hexadecimal digits.
    pub(crate) fn id(&self) -> String {
        match self {
            Self::File(identity) => identity.id(),
            Self::Remote(remote) => remote.id(),
            Self::Input(input) => input.import.clone(),
            Self::Empty(Empty { empty, size }) => {
                hex::encode(&Sha256::digest(format!("empty {empty} {size}"))[..8])
            }
            Self::Derived(derived) => derived.of.id(),
        }
    }

    /// Size of the content, in bytes.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::File(identity) => identity.size(),
            Self::Remote(remote) => remote.size,
            Self::Input(_) => 0,
            Self::Empty(empty) => empty.size,
            Self::Derived(derived) => derived.read.as_ref().map_or(0, |read| read.size),
        }
    }

    /// Size of the source, in bytes; 0 for standard input.
    #[cfg(feature = "http")]
    pub(crate) fn source_size(&self) -> u64 {
        match self {
            Self::Derived(derived) => derived.of.size(),
            whole => whole.size(),
        }
    }

    /// Which partition of a disk the content is.
    pub(crate) fn partition(&self) -> Option<&str> {
        match self {
            Self::Derived(derived) => derived.partition.as_deref(),
            Self::File(_) | Self::Remote(_) | Self::Input(_) | Self::Empty(_) => None,
        }
    }

    /// The options by which it was made of files.
    pub(crate) fn making(&self) -> Option<&str> {
        match self {
            Self::Derived(derived) => derived.making.as_deref(),
            Self::File(_) | Self::Remote(_) | Self::Input(_) | Self::Empty(_) => None,
        }
    }

    /// SHA-256 of the source, where that is not the one of the content.
    pub(crate) fn source_digest(&self) -> Option<&Digest> {
        match self {
            Self::Derived(derived) => derived.read.as_ref().map(|read| &read.source_digest),
            Self::File(_) | Self::Remote(_) | Self::Input(_) | Self::Empty(_) => None,
        }
    }
}

impl record::Record for ImportRecord {
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// How far an import is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum State {
    /// What is before `offset` is durable and hashed. `cloned`: all is there, only the hash is not.
    Reading { offset: u64, hash: String, cloned: bool },
    /// All of the source is durable beside the content, and this is its digest. The content is made of it.
    Fetched { digest: Digest },
    /// All is durable, and this is its digest.
    Complete { digest: Digest },
}

/// Where reading begins.
pub(crate) struct Start {
    pub(crate) record: ImportRecord,
    pub(crate) offset: u64,
    pub(crate) hash: ContentHash,
    pub(crate) cloned: bool,
}

impl ImportRecord {
    /// The record of an import that begins now.
    pub(crate) fn new(source: &str, identity: Origin) -> Self {
        let hash = ContentHash::default().save();
        let state = State::Reading { offset: 0, hash, cloned: false };
        Self { source: source.to_owned(), identity, started: Timestamp::now(), state }
    }

    /// Where the import that this record is of goes on; `None` if it is complete or of no use.
    pub(crate) fn resume(self) -> Option<Start> {
        let State::Reading { offset, hash, cloned } = &self.state else { return None };
        let (offset, cloned) = (*offset, *cloned);
        let hash = ContentHash::restore(hash)?;
        Some(Start { record: self, offset, hash, cloned })
    }
}

/// The record of complete content in its place, whatever it was read from.
pub(crate) fn of_content(pool: &PoolDir, digest: &Digest) -> Result<Option<ImportRecord>> {
    let path = Layout::import_record(&pool.layout().image_directory(digest));
    let complete = State::Complete { digest: digest.clone() };
    Ok(record::read::<ImportRecord>(pool.host(), &path)?.filter(|record| record.state == complete))
}
