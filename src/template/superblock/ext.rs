//! ext2, ext3 and ext4 share one superblock at 1 KiB and differ in features.
//!
//! The kernel reads more from it than the layout: mount options, the journal's device, how long to wait
//! for another host. The findings name what an image must not decide for the host that mounts it.

use crate::template::superblock::bytes::{Bytes, power};
use crate::template::superblock::file_system::{FileSystem, Finding, Impact, unknown_features};
use crate::template::superblock::growth::{ExtLayout, Layout};

const AT: usize = 1024;

// Compatible features.
const HAS_JOURNAL: u32 = 0x4;
const RESIZE_INODE: u32 = 0x10;
const SPARSE_SUPER2: u32 = 0x200;

// Incompatible features.
const RECOVER: u32 = 0x4;
const JOURNAL_DEVICE: u32 = 0x8;
const WIDE: u32 = 0x80;
const MULTI_MOUNT: u32 = 0x100;
const FLEXIBLE_GROUPS: u32 = 0x200;
const CASEFOLD: u32 = 0x2_0000;
/// `FILETYPE`, `RECOVER`, `META_BG`.
const EXT3_INCOMPAT: u32 = 0x2 | 0x4 | 0x10;
/// Features of Linux 5.12: all up to `CASEFOLD`, without compression and Lustre's.
const KNOWN_INCOMPAT: u32 = EXT3_INCOMPAT | 0x3_E7C0;

// Read-only compatible features.
const SPARSE_BACKUPS: u32 = 0x1;
const GROUP_CHECKSUMS: u32 = 0x10;
const QUOTA: u32 = 0x100;
const METADATA_CHECKSUMS: u32 = 0x400;
const READ_ONLY: u32 = 0x1000;
const PROJECT: u32 = 0x2000;
/// `SPARSE_SUPER`, `LARGE_FILE`, `BTREE_DIR`.
const EXT3_RO_COMPAT: u32 = 0x1 | 0x2 | 0x4;
/// Features that Linux can write: all up to `ORPHAN_PRESENT`, without snapshots, replicas and shared
/// blocks.
const KNOWN_RO_COMPAT: u32 = EXT3_RO_COMPAT | 0x1_B778;

/// State flag: errors were found.
const ERRORS: u16 = 0x2;
/// Bytes of the largest journal that `mkfs.ext4` makes by default.
const LARGEST_JOURNAL: u64 = 1 << 30;
/// Length of the mount options field.
const MOUNT_OPTIONS: usize = 64;
/// The largest block that every kernel mounts.
const PAGE: u32 = 4096;

pub(super) fn parse(bytes: Bytes) -> Option<FileSystem> {
    let bytes = bytes.from(AT);
    if bytes.le16(0x38)? != 0xEF53 {
        return None;
    }
    let features = Features {
        compat: bytes.le32(0x5C)?,
        incompat: bytes.le32(0x60)?,
        ro_compat: bytes.le32(0x64)?,
    };
    let block_size = power(bytes.le32(0x18)?.checked_add(10)?)?;
    let high = if features.incompat & WIDE != 0 { bytes.le32(0x150)? } else { 0 };
    let blocks = u64::from(high) << 32 | u64::from(bytes.le32(0x4)?);
    let size = blocks.saturating_mul(block_size.into());
    let fs_type = features.fs_type();
    Some(FileSystem {
        needs_recovery: features.incompat & RECOVER != 0,
        layout: layout(bytes, block_size, blocks, features).map(Layout::Ext),
        findings: findings(bytes, block_size, features),
        ..FileSystem::new(fs_type, block_size, size)
    })
}

#[derive(Clone, Copy)]
struct Features {
    compat: u32,
    incompat: u32,
    ro_compat: u32,
}

impl Features {
    fn fs_type(self) -> &'static str {
        let old = self.incompat & !EXT3_INCOMPAT == 0 && self.ro_compat & !EXT3_RO_COMPAT == 0;
        match (old, self.compat & HAS_JOURNAL != 0) {
            (true, false) => "ext2",
            (true, true) => "ext3",
            (false, _) => "ext4",
        }
    }
}

/// `None` if the superblock names no layout.
fn layout(bytes: Bytes, block_size: u32, blocks: u64, features: Features) -> Option<ExtLayout> {
    const OLD_INODE: u64 = 128;
    const OLD_DESCRIPTOR: u64 = 32;
    /// Says that the superblock has a copy of the journal's inode, which ends with the journal's size.
    const JOURNAL_BACKUP: u8 = 1;
    let Features { compat, incompat, ro_compat } = features;
    let block_size = u64::from(block_size);
    let group = u64::from(bytes.le32(0x20)?);
    let is_old = bytes.le32(0x4C)? == 0;
    let inode = if is_old { OLD_INODE } else { u64::from(bytes.le16(0x58)?) };
    let wide = incompat & WIDE != 0;
    let descriptor_size = if wide { u64::from(bytes.le16(0xFE)?) } else { OLD_DESCRIPTOR };
    let together = match incompat & FLEXIBLE_GROUPS {
        0 => 1,
        _ => 1u64.checked_shl(bytes.u8(0x174)?.into()).unwrap_or(u64::MAX),
    };
    let journal = match (compat & HAS_JOURNAL != 0, bytes.u8(0xFD)?) {
        (false, _) => 0,
        (true, JOURNAL_BACKUP) => {
            u64::from(bytes.le32(0x148)?) << 32 | u64::from(bytes.le32(0x14C)?)
        }
        (true, _) => LARGEST_JOURNAL,
    };
    let reserved = if compat & RESIZE_INODE != 0 { bytes.le16(0xCE)? } else { 0 };
    (group > 0).then_some(ExtLayout {
        block_size,
        blocks,
        first_block: bytes.le32(0x14)?.into(),
        group,
        groups_together: together,
        inode_table: (u64::from(bytes.le32(0x28)?) * inode).div_ceil(block_size),
        descriptor_size,
        reserved: reserved.into(),
        sparse_backups: ro_compat & SPARSE_BACKUPS != 0,
        checksums: ro_compat & (GROUP_CHECKSUMS | METADATA_CHECKSUMS) != 0,
        journal: journal.div_ceil(block_size),
    })
}

fn findings(bytes: Bytes, block_size: u32, features: Features) -> Vec<Finding> {
    let Features { compat, incompat, ro_compat } = features;
    let mut found = Vec::new();
    let mut add = |impact, what: &str, remedy| {
        found.push(Finding { impact, what: what.to_owned(), remedy });
    };
    if incompat & JOURNAL_DEVICE != 0 {
        add(
            Impact::Unusable,
            "is the journal of another file system, not a file system",
            "import the image of the file system, with an internal journal",
        );
    } else if compat & HAS_JOURNAL != 0 && has_external_journal(bytes) {
        add(
            Impact::Unusable,
            "keeps its journal on another device",
            "make the journal internal: `tune2fs -O ^has_journal IMAGE && tune2fs -j IMAGE`",
        );
    }
    let options = bytes.text(0x200, MOUNT_OPTIONS);
    if !options.is_empty() {
        let what =
            format!("contains mount options (\"{options}\"), but the host decides how it mounts");
        add(Impact::Unmountable, &what, "clear them with `tune2fs -E mount_opts= IMAGE`");
    }
    if incompat & MULTI_MOUNT != 0 {
        add(
            Impact::Unmountable,
            "uses multi-mount protection (mmp), which delays each mount for as long as the superblock says",
            "turn it off with `tune2fs -O ^mmp IMAGE`: only one node mounts a volume",
        );
    }
    if ro_compat & READ_ONLY != 0 {
        add(
            Impact::Unmountable,
            "is marked as read-only",
            "remove the mark with `tune2fs -O ^read-only IMAGE`",
        );
    }
    if incompat & CASEFOLD != 0 {
        add(
            Impact::KernelDependent,
            "uses casefold, which needs a kernel with CONFIG_UNICODE",
            "make the image without it (`mkfs.ext4 -O ^casefold`), or use such a kernel",
        );
    }
    if ro_compat & (QUOTA | PROJECT) != 0 {
        add(
            Impact::KernelDependent,
            "has quotas, which need a kernel with CONFIG_QUOTA and CONFIG_QFMT_V2",
            "load the module quota_v2, or turn quotas off with `tune2fs -O ^quota,^project IMAGE`",
        );
    }
    let unknown = (incompat & !KNOWN_INCOMPAT & !JOURNAL_DEVICE, ro_compat & !KNOWN_RO_COMPAT);
    if unknown != (0, 0) {
        add(
            Impact::KernelDependent,
            &unknown_features(unknown.0, unknown.1),
            "make the image without them: `dumpe2fs -h IMAGE` lists them",
        );
    }
    if block_size > PAGE {
        let what = format!(
            "has blocks of {} KiB, which kernels with smaller pages do not mount",
            block_size >> 10
        );
        add(
            Impact::KernelDependent,
            &what,
            "make the image with blocks of 4 KiB: `mkfs.ext4 -b 4096`",
        );
    }
    if compat & SPARSE_SUPER2 != 0 {
        add(
            Impact::NotGrowable,
            "uses sparse_super2, and Linux does not grow such a file system while it is mounted",
            "make the image without it (`mkfs.ext4 -O ^sparse_super2`), or make volumes of the \
             template's size",
        );
    }
    if bytes.le16(0x3A).unwrap_or(0) & ERRORS != 0 {
        add(
            Impact::NotGrowable,
            "is flagged as having errors, and Linux does not grow such a file system",
            "repair the image with `e2fsck -f IMAGE`, import it again, and make new volumes",
        );
    }
    found
}

/// Decides as the kernel does, which uses the journal's device if there is no inode of a journal.
fn has_external_journal(bytes: Bytes) -> bool {
    let (inode, device) = (bytes.le32(0xE0), bytes.le32(0xE4));
    inode == Some(0) || device != Some(0)
}
