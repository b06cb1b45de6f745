//! The digest that identifies content.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::error::{Error, Result};

/// A SHA-256 digest as 64 lower-case hexadecimal digits. In the pool, digests are file names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Parses 64 hexadecimal digits, optionally prefixed with `sha256:`.
    pub fn parse(text: &str) -> Result<Self> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        Self::from_file_name(&digits.to_ascii_lowercase()).ok_or_else(|| {
            Error::invalid(format_args!("digest {text:.80?}"), "it is not a SHA-256 digest")
                .remedy("give the 64 hexadecimal digits that `sha256sum IMAGE` prints")
        })
    }

    /// Parses a digest in its exact form: 64 lower-case digits without a prefix.
    pub(crate) fn from_file_name(name: &str) -> Option<Self> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (name.len() == 64 && name.bytes().all(is_digit)).then(|| Self(name.to_owned()))
    }

    /// Returns the digest of everything that was fed into `hash`.
    pub(crate) fn of(hash: Sha256) -> Self {
        use sha2::Digest as _;
        Self(hex::encode(hash.finalize()))
    }

    /// The 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::from_file_name(&text).ok_or_else(|| format!("digest cannot be {text:?}"))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn digests_are_64_hexadecimal_digits() {
        let digits = "0123456789abcdef".repeat(4);
        for text in [digits.clone(), digits.to_uppercase(), format!("sha256:{digits}")] {
            assert_eq!(Digest::parse(&text).unwrap().as_str(), digits);
        }
        for text in ["", "abc", &digits[1..], &format!("{digits}0"), &format!("md5:{digits}"), "ü"]
        {
            assert_eq!(Digest::parse(text).unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
    }
}
