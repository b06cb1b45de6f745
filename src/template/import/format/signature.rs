//! Formats and the signatures by which calf recognises them.

/// A format that is not a raw image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// Its name, with its article.
    pub(super) name: &'static str,
    /// How to make a raw image of it.
    pub(super) remedy: &'static str,
}

/// The offset and the bytes of a signature, and the format that has it.
pub(super) type Signature = (usize, &'static [u8], Format);

/// The format whose signature is in the bytes.
pub(super) fn find(bytes: &[u8], signatures: &[Signature]) -> Option<Format> {
    let is_there = |(at, signature, _): &&Signature| {
        bytes.get(*at..).is_some_and(|rest| rest.starts_with(signature))
    };
    signatures.iter().find(is_there).map(|(.., format)| *format)
}
