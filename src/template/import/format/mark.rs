//! Formats, and how they are known.

/// A format that is not a raw image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// Its name, with its article.
    pub(super) name: &'static str,
    /// How to make a raw image of it.
    pub(super) remedy: &'static str,
}

/// A format, and the bytes at an offset by which it is known.
pub(super) type Mark = (usize, &'static [u8], Format);

/// The format whose mark the bytes bear.
pub(super) fn marked(bytes: &[u8], marks: &[Mark]) -> Option<Format> {
    let bears = |(at, mark, _): &&Mark| bytes.get(*at..).is_some_and(|rest| rest.starts_with(mark));
    marks.iter().find(bears).map(|(.., format)| *format)
}
