//! The digest that content must have.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// A SHA-256, in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest(String);

impl Digest {
    /// Parses 64 hexadecimal digits, with or without `sha256:` in front.
    pub fn parse(text: &str) -> Result<Self> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let lower = digits.to_ascii_lowercase();
        if is_valid(&lower) {
            return Ok(Self(lower));
        }
        Err(Error::new(
            ErrorKind::InvalidArgument,
            "use digest",
            format_args!("{text:.80?}"),
            "it is not a SHA-256",
        )
        .remedy("give the 64 hexadecimal digits that `sha256sum IMAGE` prints"))
    }

    /// The 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `text` is a SHA-256 digest in lower-case hexadecimal: digests become paths.
pub(crate) fn is_valid(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
