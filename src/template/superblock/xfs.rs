//! XFS: one superblock at the start, in big-endian order.

use crate::template::superblock::bytes::{Bytes, block_size};
use crate::template::superblock::file_system::{Bars, FileSystem, Finding};

/// The version of the format that has checksums, in the low bits of the version number.
const VERSION: u16 = 5;
const VERSION_BITS: u16 = 0xF;

// Incompatible features.
const NEEDS_REPAIR: u32 = 0x10;
const ZONED: u32 = 0x200;
/// Those that Linux knew when calf began.
const KNOWN_INCOMPAT: u32 = 0x1F;
/// Those that came later, and with which kernel.
const LATER_INCOMPAT: [(u32, &str, (u32, u32)); 5] = [
    (0x20, "nrext64", (5, 19)),
    (0x40, "exchange", (6, 10)),
    (0x80, "parent", (6, 10)),
    (0x100, "metadir", (6, 13)),
    (ZONED, "zoned", (6, 15)),
];
/// `finobt`, `rmapbt`, `reflink`, `inobtcount`.
const KNOWN_RO_COMPAT: u32 = 0xF;
/// The largest block that every kernel mounts.
const PAGE: u32 = 4096;

pub(super) fn parse(bytes: Bytes) -> Option<FileSystem> {
    if !bytes.has(0, b"XFSB") {
        return None;
    }
    let block_size = block_size(bytes.be32(4)?)?;
    let size = bytes.be64(8)?.saturating_mul(block_size.into());
    let findings = findings(bytes, block_size)?;
    Some(FileSystem { findings, ..FileSystem::new("xfs", block_size, size) })
}

fn findings(bytes: Bytes, block_size: u32) -> Option<Vec<Finding>> {
    let mut found = Vec::new();
    let mut add = |bars, what: &str, remedy| {
        found.push(Finding { bars, what: what.to_owned(), remedy });
    };
    let modern = bytes.be16(100)? & VERSION_BITS >= VERSION;
    let (ro_compat, incompat) = if modern { (bytes.be32(212)?, bytes.be32(216)?) } else { (0, 0) };
    if bytes.be64(48)? == 0 {
        add(
            Bars::Use,
            "keeps its log on another device",
            "make the image with an internal log, as `mkfs.xfs` does without -l logdev",
        );
    }
    if bytes.be64(16)? != 0 && incompat & ZONED == 0 {
        add(
            Bars::Use,
            "keeps a realtime section on another device",
            "make the image without one, as `mkfs.xfs` does without -r rtdev",
        );
    }
    if bytes.u8(126)? != 0 {
        add(
            Bars::Use,
            "was not finished: mkfs.xfs or xfs_copy was cut short",
            "make the image again",
        );
    }
    if incompat & NEEDS_REPAIR != 0 {
        add(Bars::Use, "is marked as in need of repair", "repair it with `xfs_repair IMAGE`");
    }
    if !modern {
        add(
            Bars::SomeKernels,
            "has the old format (version 4), which needs a kernel with CONFIG_XFS_SUPPORT_V4",
            "make the image anew with `mkfs.xfs -m crc=1`",
        );
    }
    const NEWER: &str = "make the image without it (`mkfs.xfs -i nrext64=0`, `-n parent=0`, \
                         `-i exchange=0`), or use a newer kernel";
    for (_, name, since) in LATER_INCOMPAT.iter().filter(|(bit, ..)| incompat & bit != 0) {
        let what = format!("uses {name}, which Linux has from {}.{} on", since.0, since.1);
        add(Bars::KernelsBefore(since.0, since.1), &what, NEWER);
    }
    let later = LATER_INCOMPAT.iter().fold(0, |bits, (bit, ..)| bits | bit);
    let unknown = (incompat & !KNOWN_INCOMPAT & !later, ro_compat & !KNOWN_RO_COMPAT);
    if unknown != (0, 0) {
        let what = format!(
            "uses features that calf does not know (incompat {:#x}, ro_compat {:#x}), and kernels may not",
            unknown.0, unknown.1
        );
        add(Bars::SomeKernels, &what, "make the image without them: `xfs_info IMAGE` lists them");
    }
    if block_size > PAGE {
        let what = format!(
            "has blocks of {} KiB, which Linux mounts from 6.12 on, or where pages are as large",
            block_size >> 10
        );
        add(
            Bars::KernelsBefore(6, 12),
            &what,
            "make the image with blocks of 4 KiB: `mkfs.xfs -b size=4096`",
        );
    }
    Some(found)
}
