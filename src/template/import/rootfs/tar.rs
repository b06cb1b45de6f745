//! Tar archives: their entries, in order, with the content of each.
//!
//! `tar-core` parses the headers, with PAX and GNU extensions and limits on their size. It never sees more
//! than the headers of one entry, so memory does not follow the size of the archive.

use std::io::{self, Read};

use tar_core::parse::{Limits, ParseError, ParseEvent, ParsedEntry, Parser};
use tar_core::{EntryType, PaxExtensions, SparseEntry};

use crate::error::Error;
use crate::model::limits::MAX_SIZE;
use crate::template::import::rootfs::attributes;
use crate::template::import::rootfs::entry::{
    Entry, Extent, FilePath, Kind, MAX_PATH, Meta, Special,
};

const BLOCK: u64 = 512;
/// Most bytes of what comes before one entry: long names, extended attributes of up to 64 KiB each.
const MAX_EXTENSIONS: u32 = 1 << 20;
/// Most parts of a sparse file.
const MAX_PARTS: usize = 10_000;

/// Whether an archive must have its end marker, after which nothing but zeros may come. The digest of a
/// layer says as much about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Marked,
    Any,
}

/// Why reading ended early.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The archive could not be read.
    Input(io::Error),
    /// It ends in the middle.
    Cut,
    /// It is no archive, or one that calf does not take.
    Refused(String),
    /// Whoever took the entries had enough.
    Taker(Error),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Input(error)
    }
}

/// Takes an entry, and what is given of a file's content.
pub(crate) type Take<'a> = dyn FnMut(Entry, &mut (dyn Read + Send)) -> Result<(), Error> + 'a;

/// Reads an archive to its end.
pub(crate) fn read(
    input: &mut (dyn Read + Send),
    end: End,
    take: &mut Take<'_>,
) -> Result<(), Stopped> {
    let limits = Limits {
        max_metadata_size: MAX_EXTENSIONS,
        max_path_len: Some(MAX_PATH as u32),
        max_sparse_entries: MAX_PARTS,
        ..Limits::default()
    };
    let mut parser = Parser::new(limits);
    // Times before 1970 are numbers that the parser does not take. All that it skips is looked at again.
    parser.set_ignore_pax_errors(true);
    let mut head = Vec::new();
    loop {
        let (consumed, entry, size) = match parser.parse(&head).map_err(explain)? {
            ParseEvent::NeedData { min_bytes } => {
                if !more(input, &mut head, min_bytes)? {
                    return ended(&head, end);
                }
                continue;
            }
            ParseEvent::End { .. } => return rest(input, end),
            ParseEvent::GlobalExtensions { consumed, pax_data } => {
                check_global(pax_data)?;
                head.drain(..consumed);
                continue;
            }
            ParseEvent::Entry { consumed, entry } => {
                let size = entry.size;
                (consumed, convert(entry, None)?, size)
            }
            ParseEvent::SparseEntry { consumed, entry, sparse_map, real_size } => {
                let size = entry.size;
                (consumed, convert(entry, Some((sparse_map, real_size)))?, size)
            }
        };
        if consumed != head.len() {
            return Err(Stopped::Refused("a header has an unexpected length".to_owned()));
        }
        head.clear();
        let size = match entry.kind {
            Kind::File(_) => size,
            // Only files have content, whatever the header of another says.
            _ => 0,
        };
        let mut content = input.take(size);
        take(entry, &mut content).map_err(Stopped::Taker)?;
        let left = content.limit();
        skip(input, left)?;
        match skip(input, size.next_multiple_of(BLOCK) - size) {
            // umoci leaves out what fills the last block.
            Err(Stopped::Cut) if end == End::Any => return Ok(()),
            filled => filled?,
        }
    }
}

/// Reads until there are `least` bytes, and at least one block more; false if the archive ends before.
fn more(input: &mut dyn Read, head: &mut Vec<u8>, least: usize) -> Result<bool, Stopped> {
    // After a single block of zeros, the parser counts without that block.
    let missing = match least.saturating_sub(head.len()) as u64 {
        0 => BLOCK,
        missing => missing,
    };
    let read = input.take(missing).read_to_end(head)? as u64;
    Ok(read == missing)
}

/// The archive has no end marker.
fn ended(head: &[u8], end: End) -> Result<(), Stopped> {
    match (head, end) {
        ([], End::Any) => Ok(()),
        // Half an end marker is one.
        (zeros, _) if zeros.len() == BLOCK as usize && is_zero(zeros) => Ok(()),
        _ => Err(Stopped::Cut),
    }
}

/// What comes after the end marker is read as well: it belongs to the digest, and a decoder's check comes
/// last.
fn rest(input: &mut dyn Read, end: End) -> Result<(), Stopped> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) if end == End::Marked && !is_zero(&buffer[..read]) => {
                let why = "after its end come other bytes, perhaps another archive";
                return Err(Stopped::Refused(why.to_owned()));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn skip(input: &mut dyn Read, length: u64) -> Result<(), Stopped> {
    match io::copy(&mut input.take(length), &mut io::sink())? {
        skipped if skipped == length => Ok(()),
        _ => Err(Stopped::Cut),
    }
}

fn explain(error: ParseError) -> Stopped {
    Stopped::Refused(match error {
        ParseError::PathTooLong { .. } => "a path in it has more than 4,096 bytes".to_owned(),
        ParseError::MetadataTooLarge { .. } => {
            "what it says about one file has more than 1 MiB".to_owned()
        }
        ParseError::TooManySparseEntries { .. } => {
            "a sparse file in it has more than 10,000 parts".to_owned()
        }
        other => format!("it is damaged, or no tar archive: {other}"),
    })
}

fn refused(path: &FilePath, why: impl std::fmt::Display) -> Stopped {
    Stopped::Refused(format!("{path}: {why}"))
}

/// Defaults for all files would have to be applied: nobody writes them, but Git a comment.
fn check_global(data: &[u8]) -> Result<(), Stopped> {
    for extension in PaxExtensions::new(data) {
        let extension = extension.map_err(|e| explain(e.into()))?;
        if !matches!(extension.key_bytes(), b"comment" | b"charset" | b"hdrcharset") {
            let key = String::from_utf8_lossy(extension.key_bytes()).escape_debug().to_string();
            let why =
                format!("it has a PAX header for all files ({key:.40}), which calf does not apply");
            return Err(Stopped::Refused(why));
        }
    }
    Ok(())
}

fn convert(
    entry: ParsedEntry<'_>,
    sparse: Option<(Vec<SparseEntry>, u64)>,
) -> Result<Entry, Stopped> {
    let parse = |what: &str, bytes: &[u8]| {
        FilePath::parse(bytes).map_err(|why| {
            let shown = String::from_utf8_lossy(bytes).escape_debug().to_string();
            Stopped::Refused(format!("{what} {shown:.200} is not possible: {why}"))
        })
    };
    let path = parse("the path", &entry.path)?;
    let target = || entry.link_target.as_deref().unwrap_or_default();
    let number = || (entry.dev_major.unwrap_or(0), entry.dev_minor.unwrap_or(0));
    let kind = match entry.entry_type {
        // As archives of before 1988 have directories.
        EntryType::Regular if sparse.is_none() && entry.path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse => {
            Kind::File(extent(&path, entry.size, sparse)?)
        }
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink(symlink(target()).map_err(|why| refused(&path, why))?),
        EntryType::Link => Kind::HardLink(parse("the target", target())?),
        EntryType::Char => Kind::Special(Special::Character(number().0, number().1)),
        EntryType::Block => Kind::Special(Special::Block(number().0, number().1)),
        EntryType::Fifo => Kind::Special(Special::Fifo),
        other => {
            let kind = char::from(other.to_byte()).escape_debug();
            return Err(refused(&path, format_args!("calf does not know entries of type {kind}")));
        }
    };
    let meta = meta(&entry).map_err(|why| refused(&path, why))?;
    Ok(Entry { path, kind, meta })
}

/// What a symlink points to, which is text and nothing else.
pub(super) fn symlink(target: &[u8]) -> Result<String, &'static str> {
    match std::str::from_utf8(target) {
        Ok("") => Err("it is a symlink to nothing"),
        Ok(text) if text.len() >= MAX_PATH => Err("its target has more than 4,095 bytes"),
        Ok(text) if text.contains('\0') => Err("its target contains a zero byte"),
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err("its target is not UTF-8"),
    }
}

fn extent(
    path: &FilePath,
    stored: u64,
    sparse: Option<(Vec<SparseEntry>, u64)>,
) -> Result<Extent, Stopped> {
    let Some((map, size)) = sparse else { return whole(path, stored) };
    let mut parts: Vec<(u64, u64)> = Vec::new();
    let (mut end, mut given) = (0u64, 0u64);
    for SparseEntry { offset, length } in map {
        let next = offset.checked_add(length).filter(|next| offset >= end && *next <= size);
        end = next.ok_or_else(|| refused(path, "the map of its holes is damaged"))?;
        given += length;
        if length > 0 {
            parts.push((offset, length));
        }
    }
    if given != stored {
        return Err(refused(path, "the map of its holes does not match its content"));
    }
    Ok(Extent { parts: Some(parts), ..whole(path, size)? })
}

fn whole(path: &FilePath, size: u64) -> Result<Extent, Stopped> {
    if size > MAX_SIZE {
        return Err(refused(path, "it is larger than the largest volume"));
    }
    Ok(Extent { size, parts: None })
}

fn meta(entry: &ParsedEntry<'_>) -> Result<Meta, String> {
    let id = |id: u64| u32::try_from(id).map_err(|_| format!("no user or group has the id {id}"));
    let mut attributes = Vec::new();
    for (name, value) in &entry.xattrs {
        attributes.extend(attributes::kept(name, value, false)?);
    }
    let seconds = i64::try_from(entry.mtime).unwrap_or(i64::MAX);
    Ok(Meta {
        mode: (entry.mode & 0o7777) as u16,
        uid: id(entry.uid)?,
        gid: id(entry.gid)?,
        modified: extended(entry.pax.unwrap_or_default())?.unwrap_or((seconds, 0)),
        attributes,
    })
}

/// The exact time in PAX extensions. The numbers in these must be some, as the parser skips others.
fn extended(data: &[u8]) -> Result<Option<(i64, u32)>, String> {
    let mut modified = None;
    for extension in PaxExtensions::new(data) {
        let extension = extension.map_err(|e| e.to_string())?;
        let key = extension.key_bytes();
        let text = extension.value().unwrap_or_default();
        if key == b"mtime" {
            modified = Some(time(text).ok_or_else(|| format!("{text:.40?} is no time"))?);
        }
        let is_number = matches!(key, b"size" | b"uid" | b"gid")
            || key.starts_with(b"GNU.sparse.")
                && !matches!(key, b"GNU.sparse.name" | b"GNU.sparse.map");
        if is_number && text.parse::<u64>().is_err() {
            let key = String::from_utf8_lossy(key);
            return Err(format!("its {key} {text:.40?} is no number"));
        }
    }
    Ok(modified)
}

/// Seconds and nanoseconds of a decimal number.
fn time(text: &str) -> Option<(i64, u32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let nanoseconds: u32 = format!("{fraction:0<9.9}").parse().ok()?;
    // Nanoseconds count forwards, also before 1970.
    match (whole.starts_with('-'), nanoseconds) {
        (true, 1..) => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds)),
        _ => Some((seconds, nanoseconds)),
    }
}

#[cfg(test)]
#[path = "tar_tests.rs"]
mod tests;
