//! XFS: one superblock at the start, in big-endian order.

use crate::template::superblock::bytes::{Bytes, block_size};
use crate::template::superblock::file_system::{FileSystem, Finding, Impact, unknown_features};
use crate::template::superblock::growth::{Layout, XfsLayout};

/// The format version with checksums, stored in the low bits of the version number.
const VERSION: u16 = 5;
const VERSION_BITS: u16 = 0xF;

// Incompatible features.
const NEEDS_REPAIR: u32 = 0x10;
const ZONED: u32 = 0x200;
/// Features of Linux 5.12.
const KNOWN_INCOMPAT: u32 = 0x1F;
/// Later features, with the first kernel that supports each.
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
    let blocks = bytes.be64(8)?;
    let group = u64::from(bytes.be32(84)?);
    let layout = XfsLayout {
        block_size: block_size.into(),
        blocks,
        group,
        sector_size: bytes.be16(102)?.into(),
    };
    Some(FileSystem {
        layout: (group > 0).then_some(Layout::Xfs(layout)),
        findings: findings(bytes, block_size)?,
        ..FileSystem::new("xfs", block_size, blocks.saturating_mul(block_size.into()))
    })
}

fn findings(bytes: Bytes, block_size: u32) -> Option<Vec<Finding>> {
    let mut found = Vec::new();
    let mut add = |impact, what: &str, remedy| {
        found.push(Finding { impact, what: what.to_owned(), remedy });
    };
    let modern = bytes.be16(100)? & VERSION_BITS >= VERSION;
    let (ro_compat, incompat) = if modern { (bytes.be32(212)?, bytes.be32(216)?) } else { (0, 0) };
    if bytes.be64(48)? == 0 {
        add(
            Impact::Unusable,
            "keeps its log on another device",
            "make the image with an internal log, as `mkfs.xfs` does without -l logdev",
        );
    }
    if bytes.be64(16)? != 0 && incompat & ZONED == 0 {
        add(
            Impact::Unusable,
            "keeps a realtime section on another device",
            "make the image without one, as `mkfs.xfs` does without -r rtdev",
        );
    }
    if bytes.u8(126)? != 0 {
        add(
            Impact::Unusable,
            "is unfinished: mkfs.xfs or xfs_copy was interrupted",
            "make the image again",
        );
    }
    if incompat & NEEDS_REPAIR != 0 {
        add(
            Impact::Unusable,
            "is marked as in need of repair",
            "repair it with `xfs_repair IMAGE`",
        );
    }
    if !modern {
        add(
            Impact::KernelDependent,
            "has the old format (version 4), which needs a kernel with CONFIG_XFS_SUPPORT_V4",
            "make the image again with `mkfs.xfs -m crc=1`",
        );
    }
    const NEWER: &str = "make the image without it (`mkfs.xfs -i nrext64=0`, `-n parent=0`, \
                         `-i exchange=0`), or use a newer kernel";
    for (_, name, since) in LATER_INCOMPAT.iter().filter(|(bit, ..)| incompat & bit != 0) {
        let what = format!("uses {name}, which Linux supports since {}.{}", since.0, since.1);
        add(Impact::NeedsKernel(since.0, since.1), &what, NEWER);
    }
    let later = LATER_INCOMPAT.iter().fold(0, |bits, (bit, ..)| bits | bit);
    let unknown = (incompat & !KNOWN_INCOMPAT & !later, ro_compat & !KNOWN_RO_COMPAT);
    if unknown != (0, 0) {
        add(
            Impact::KernelDependent,
            &unknown_features(unknown.0, unknown.1),
            "make the image without them: `xfs_info IMAGE` lists them",
        );
    }
    if block_size > PAGE {
        let what = format!(
            "has blocks of {} KiB, which Linux mounts since 6.12, or if its pages are as large",
            block_size >> 10
        );
        add(
            Impact::NeedsKernel(6, 12),
            &what,
            "make the image with blocks of 4 KiB: `mkfs.xfs -b size=4096`",
        );
    }
    Some(found)
}
