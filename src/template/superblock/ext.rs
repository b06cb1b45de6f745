//! ext2, ext3 and ext4 share one superblock at 1 KiB and differ in features.
//!
//! The kernel takes more from it than a layout: mount options, the device of the journal, how long to
//! wait for another host. Findings name what an image has no say in where the host mounts it.

use crate::template::superblock::bytes::{Bytes, power};
use crate::template::superblock::file_system::{Bars, FileSystem, Finding};

const AT: usize = 1024;

// Compatible features.
const HAS_JOURNAL: u32 = 0x4;
const SPARSE_SUPER2: u32 = 0x200;

// Incompatible features.
const RECOVER: u32 = 0x4;
const JOURNAL_DEVICE: u32 = 0x8;
const WIDE: u32 = 0x80;
const MULTI_MOUNT: u32 = 0x100;
const CASEFOLD: u32 = 0x2_0000;
/// `FILETYPE`, `RECOVER`, `META_BG`.
const EXT3_INCOMPAT: u32 = 0x2 | 0x4 | 0x10;
/// Those that Linux knew when calf began: all up to `CASEFOLD` but compression and Lustre's.
const KNOWN_INCOMPAT: u32 = EXT3_INCOMPAT | 0x3_E7C0;

// Features that are compatible with reading.
const QUOTA: u32 = 0x100;
const READ_ONLY: u32 = 0x1000;
const PROJECT: u32 = 0x2000;
/// `SPARSE_SUPER`, `LARGE_FILE`, `BTREE_DIR`.
const EXT3_RO_COMPAT: u32 = 0x1 | 0x2 | 0x4;
/// Those that Linux writes: all up to `ORPHAN_PRESENT` but snapshots, replicas and shared blocks.
const KNOWN_RO_COMPAT: u32 = EXT3_RO_COMPAT | 0x1_B778;

/// The state: errors were found.
const ERRORS: u16 = 0x2;
/// Length of the field of mount options.
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

fn findings(bytes: Bytes, block_size: u32, features: Features) -> Vec<Finding> {
    let Features { compat, incompat, ro_compat } = features;
    let mut found = Vec::new();
    let mut add = |bars, what: &str, remedy| {
        found.push(Finding { bars, what: what.to_owned(), remedy });
    };
    if incompat & JOURNAL_DEVICE != 0 {
        add(
            Bars::Use,
            "is the journal of another file system, and no file system itself",
            "import the image of the file system, made with its journal inside",
        );
    } else if compat & HAS_JOURNAL != 0 && has_external_journal(bytes) {
        add(
            Bars::Use,
            "keeps its journal on another device",
            "bring the journal inside: `tune2fs -O ^has_journal IMAGE && tune2fs -j IMAGE`",
        );
    }
    let options = bytes.text(0x200, MOUNT_OPTIONS);
    if !options.is_empty() {
        let what =
            format!("brings mount options of its own (\"{options}\"), and the host decides those");
        add(Bars::Mount, &what, "clear them with `tune2fs -E mount_opts= IMAGE`");
    }
    if incompat & MULTI_MOUNT != 0 {
        add(
            Bars::Mount,
            "uses multi-mount protection (mmp), which lets each mount wait for as long as it says",
            "turn it off with `tune2fs -O ^mmp IMAGE`: a volume is mounted by one node alone",
        );
    }
    if ro_compat & READ_ONLY != 0 {
        add(
            Bars::Mount,
            "is marked as read-only for ever",
            "take the mark away with `tune2fs -O ^read-only IMAGE`",
        );
    }
    if incompat & CASEFOLD != 0 {
        add(
            Bars::SomeKernels,
            "uses casefold, which needs a kernel with CONFIG_UNICODE",
            "make the image without it (`mkfs.ext4 -O ^casefold`), or use such a kernel",
        );
    }
    if ro_compat & (QUOTA | PROJECT) != 0 {
        add(
            Bars::SomeKernels,
            "keeps quotas, which needs a kernel with CONFIG_QUOTA and CONFIG_QFMT_V2",
            "load the module quota_v2, or turn them off with `tune2fs -O ^quota,^project IMAGE`",
        );
    }
    let unknown = (incompat & !KNOWN_INCOMPAT & !JOURNAL_DEVICE, ro_compat & !KNOWN_RO_COMPAT);
    if unknown != (0, 0) {
        let what = format!(
            "uses features that calf does not know (incompat {:#x}, ro_compat {:#x}), and kernels may not",
            unknown.0, unknown.1
        );
        add(
            Bars::SomeKernels,
            &what,
            "make the image without them: `dumpe2fs -h IMAGE` lists them",
        );
    }
    if block_size > PAGE {
        let what = format!(
            "has blocks of {} KiB, which kernels with smaller pages do not mount",
            block_size >> 10
        );
        add(Bars::SomeKernels, &what, "make the image with blocks of 4 KiB: `mkfs.ext4 -b 4096`");
    }
    if compat & SPARSE_SUPER2 != 0 {
        add(
            Bars::Growth,
            "uses sparse_super2, with which Linux grows no mounted file system",
            "make the image without it (`mkfs.ext4 -O ^sparse_super2`), or volumes as large as the \
             template",
        );
    }
    if bytes.le16(0x3A).unwrap_or(0) & ERRORS != 0 {
        add(
            Bars::Growth,
            "is flagged as having errors, and Linux grows none that is",
            "repair the image with `e2fsck -f IMAGE`, import it again, and make new volumes",
        );
    }
    found
}

/// As the kernel decides it: without the inode of a journal, it looks for the device of one.
fn has_external_journal(bytes: Bytes) -> bool {
    let (inode, device) = (bytes.le32(0xE0), bytes.le32(0xE4));
    inode == Some(0) || device != Some(0)
}
