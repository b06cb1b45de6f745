//! What lies over a whole disk without being a file system.

use crate::template::superblock::bytes::Bytes;

/// What it is, with its article.
pub(super) fn parse(bytes: Bytes) -> Option<&'static str> {
    const NAMED: [(usize, &[u8], &str); 4] = [
        (0, b"LUKS\xBA\xBE", "an encrypted volume (LUKS)"),
        (512, b"LABELONE", "an LVM physical volume"),
        (4086, b"SWAPSPACE2", "swap space"),
        (4096, b"\xFC\x4E\x2B\xA9", "a part of a RAID array (md)"),
    ];
    let named = NAMED.iter().find(|(at, magic, _)| bytes.has(*at, magic));
    named.map(|(_, _, what)| *what).or_else(|| partition_table(bytes))
}

fn partition_table(bytes: Bytes) -> Option<&'static str> {
    const ENTRIES: usize = 446;
    // With sectors of 512 bytes, and of 4096.
    if bytes.has(512, b"EFI PART") || bytes.has(4096, b"EFI PART") {
        return Some("a partition table (GPT)");
    }
    if !bytes.has(510, &[0x55, 0xAA]) {
        return None;
    }
    let mut used = false;
    for entry in 0..4 {
        let at = ENTRIES + 16 * entry;
        // A boot sector of something else has code here, not a boot flag.
        if !matches!(bytes.u8(at)?, 0 | 0x80) {
            return None;
        }
        used |= bytes.u8(at + 4)? != 0 && bytes.le32(at + 12)? != 0;
    }
    used.then_some("a partition table (MBR)")
}
