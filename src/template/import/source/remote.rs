//! An image on a server: which one, and which state of it.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// An image on a server, and which state of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Remote {
    /// The digest that the content is to have.
    pub(crate) expected: String,
    /// Size of the content, in bytes.
    pub(crate) size: u64,
    /// The server's name for the state of its file: a strong `ETag`, or `Last-Modified`.
    pub(crate) validator: Option<String>,
}

impl Remote {
    /// Names the import of the content with this digest: 16 hexadecimal digits.
    pub(crate) fn id_of(expected: &str) -> String {
        hex::encode(&Sha256::digest(format!("digest:{expected}"))[..8])
    }

    pub(crate) fn id(&self) -> String {
        Self::id_of(&self.expected)
    }
}
