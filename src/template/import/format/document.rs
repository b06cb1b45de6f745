//! Text: what a server says instead of sending an image, and what stands for one elsewhere.

use crate::template::import::format::mark::Format;

pub(super) const TEXT: Format =
    Format { name: "a text", remedy: "look into it: it may say where the image is, or why not" };
const HTML: Format = Format {
    name: "a web page (HTML)",
    remedy: "give the address of the image itself: this one may want a login, or show a page about it",
};
const XML: Format = Format {
    name: "an XML document",
    remedy: "look into it: object stores say so that access was denied; a signed URL may help",
};
const LFS: Format =
    Format { name: "a pointer of Git LFS", remedy: "fetch what it stands for with `git lfs pull`" };

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

/// Whether an XML document is a page all the same (XHTML).
fn contains_html(head: &[u8]) -> bool {
    head.windows(5).any(|part| part.eq_ignore_ascii_case(b"<html"))
}

/// Whether the bytes are printable text, and more than none.
pub(super) fn is_text(head: &[u8]) -> bool {
    let printable = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7E | 0x80..);
    !head.is_empty()
        && head.iter().all(printable)
        && String::from_utf8_lossy(head).chars().filter(|c| *c == '\u{FFFD}').count() <= 1
}
