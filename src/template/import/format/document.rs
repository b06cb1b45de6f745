//! Text: messages of a server that does not send the image, and pointers to images.

use crate::template::import::format::signature::Format;

pub(super) const TEXT: Format =
    Format { name: "a text file", remedy: "read it: it may say where the image is" };
const HTML: Format = Format {
    name: "a web page (HTML)",
    remedy: "give the URL of the image itself: this one may need a login, or show a page about the image",
};
const XML: Format = Format {
    name: "an XML document",
    remedy: "read it: an object store that denies access answers like this, and a signed URL may help",
};
const LFS: Format =
    Format { name: "a Git LFS pointer", remedy: "fetch the file itself with `git lfs pull`" };

pub(super) fn of_head(head: &[u8]) -> Option<Format> {
    let head = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head).trim_ascii_start();
    let begins = |with: &str| {
        head.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()))
    };
    if begins("<!doctype html") || begins("<html") {
        return Some(HTML);
    }
    if begins("<?xml") {
        return Some(if contains_html(head) { HTML } else { XML });
    }
    begins("version https://git-lfs").then_some(LFS)
}

/// Whether an XML document is a web page (XHTML).
fn contains_html(head: &[u8]) -> bool {
    head.windows(5).any(|part| part.eq_ignore_ascii_case(b"<html"))
}

/// Whether the bytes are printable text, and not empty.
pub(super) fn is_text(head: &[u8]) -> bool {
    let printable = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7E | 0x80..);
    !head.is_empty()
        && head.iter().all(printable)
        && String::from_utf8_lossy(head).chars().filter(|c| *c == '\u{FFFD}').count() <= 1
}
