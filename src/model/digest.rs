//! The digest that identifies content.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::error::{Error, Result};

/// What content that was committed has before its digits.
const COMMIT: &str = "commit-";

/// What identifies the content of a template, as the name that it has in the pool: its SHA-256, as 64 lower-case
/// hexadecimal digits. Content that was committed and not read has `commit-` and 64 digits instead, the SHA-256 of
/// the record of what it was made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Parses 64 hexadecimal digits, optionally prefixed with `sha256:`.
    pub fn parse(text: &str) -> Result<Self> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        Self::from_digits(&digits.to_ascii_lowercase()).ok_or_else(|| {
            Error::invalid(format_args!("digest {text:.80?}"), "it is not a SHA-256 digest")
                .remedy("give the 64 hexadecimal digits that `sha256sum IMAGE` prints")
        })
    }

    /// Parses 64 lower-case digits without a prefix.
    fn from_digits(digits: &str) -> Option<Self> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (digits.len() == 64 && digits.bytes().all(is_digit)).then(|| Self(digits.to_owned()))
    }

    /// Parses the name that content has in the pool.
    pub(crate) fn from_file_name(name: &str) -> Option<Self> {
        match name.strip_prefix(COMMIT) {
            Some(digits) => Self::from_digits(digits).map(|_| Self(name.to_owned())),
            None => Self::from_digits(name),
        }
    }

    /// Returns the digest of everything that was fed into `hash`.
    pub(crate) fn of(hash: Sha256) -> Self {
        use sha2::Digest as _;
        Self(hex::encode(hash.finalize()))
    }

    /// Identifies content that was put together as `description` says, without being read.
    pub(crate) fn of_commit(description: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(format!("{COMMIT}{}", hex::encode(Sha256::digest(description))))
    }

    /// The SHA-256 of the content; `None` of content that was committed and not read.
    pub fn sha256(&self) -> Option<&str> {
        (!self.0.starts_with(COMMIT)).then_some(&self.0)
    }

    /// The digits with what they are: `sha256:…`, or `commit:…` of content that was committed and not read.
    pub fn qualified(&self) -> String {
        match self.0.strip_prefix(COMMIT) {
            Some(digits) => format!("commit:{digits}"),
            None => format!("sha256:{}", self.0),
        }
    }

    /// The name in the pool.
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

    #[test]
    fn committed_content_never_passes_for_content_that_was_read() {
        let commit = Digest::of_commit(b"a record");
        assert_eq!(Digest::from_file_name(commit.as_str()), Some(commit.clone()));
        assert_eq!(commit.sha256(), None);
        assert!(commit.qualified().starts_with("commit:"), "{}", commit.qualified());
        assert!(
            Digest::parse(commit.as_str()).is_err() && Digest::parse(&commit.qualified()).is_err()
        );
        let read = Digest::parse(&"0a".repeat(32)).unwrap();
        assert_eq!(read.sha256(), Some(read.as_str()));
        assert_eq!(Digest::parse(&read.qualified()).unwrap(), read);
        for name in ["commit-", "commit-0a", &format!("commit-commit-{read}"), &format!("x{read}")]
        {
            assert_eq!(Digest::from_file_name(name), None, "{name}");
        }
    }
}
