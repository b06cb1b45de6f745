//! Content of a whole disk that is not a file system.

use crate::template::superblock::bytes::Bytes;

/// The content of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    /// Its name, with its article.
    pub(crate) what: &'static str,
    /// Bytes of the disk up to the end of its last partition; 0 if that is not known.
    pub(crate) size: u64,
}

pub(super) fn parse(bytes: Bytes) -> Option<Disk> {
    const NAMED: [(usize, &[u8], &str); 4] = [
        (0, b"LUKS\xBA\xBE", "an encrypted volume (LUKS)"),
        (512, b"LABELONE", "an LVM physical volume"),
        (4086, b"SWAPSPACE2", "swap space"),
        (4096, b"\xFC\x4E\x2B\xA9", "a member of a RAID array (md)"),
    ];
    let named = NAMED.iter().find(|(at, magic, _)| bytes.has(*at, magic));
    named
        .map(|(_, _, what)| Disk { what, size: 0 })
        // Sectors have 512 or 4096 bytes.
        .or_else(|| gpt(bytes, 512))
        .or_else(|| gpt(bytes, 4096))
        .or_else(|| mbr(bytes))
}

fn gpt(bytes: Bytes, sector: usize) -> Option<Disk> {
    /// Maximum number of partitions to read: the default size of a table.
    const MOST: u32 = 128;
    let header = bytes.from(sector);
    if !header.has(0, b"EFI PART") {
        return None;
    }
    let (first, count, length) = (header.le64(72)?, header.le32(80)?, header.le32(84)?);
    let entries = usize::try_from(first).ok()?.checked_mul(sector)?;
    let end_of = |n: u32| {
        let at = usize::try_from(n.checked_mul(length)?).ok()?.checked_add(entries)?;
        let is_used = bytes.le64(at)? != 0 || bytes.le64(at + 8)? != 0;
        is_used.then_some(())?;
        bytes.le64(at + 40)?.checked_add(1)?.checked_mul(sector as u64)
    };
    let size = (0..count.min(MOST)).filter_map(end_of).max().unwrap_or(0);
    Some(Disk { what: "a partition table (GPT)", size })
}

fn mbr(bytes: Bytes) -> Option<Disk> {
    const ENTRIES: usize = 446;
    /// Represents a GPT, and may have any size.
    const PROTECTIVE: u8 = 0xEE;
    if !bytes.has(510, &[0x55, 0xAA]) {
        return None;
    }
    let (mut used, mut size) = (false, 0);
    for entry in 0..4 {
        let at = ENTRIES + 16 * entry;
        // Other boot sectors have code here, not a boot flag.
        if !matches!(bytes.u8(at)?, 0 | 0x80) {
            return None;
        }
        let (kind, first, length) = (bytes.u8(at + 4)?, bytes.le32(at + 8)?, bytes.le32(at + 12)?);
        if kind == 0 || length == 0 {
            continue;
        }
        used = true;
        if kind != PROTECTIVE {
            size = size.max((u64::from(first) + u64::from(length)) * 512);
        }
    }
    used.then_some(Disk { what: "a partition table (MBR)", size })
}
