//! Btrfs: the first copy of its superblock is at 64 KiB.

use crate::template::superblock::bytes::{Bytes, block_size};
use crate::template::superblock::file_system::{FileSystem, Finding, Impact};

const AT: usize = 64 << 10;
const SEED: u64 = 1 << 32;
/// A dump of metadata, of either version.
const METADATA_DUMP: u64 = 1 << 33 | 1 << 34;

pub(super) fn parse(bytes: Bytes) -> Option<FileSystem> {
    let bytes = bytes.from(AT);
    if !bytes.has(0x40, b"_BHRfS_M") {
        return None;
    }
    let mut findings = Vec::new();
    let devices = bytes.le64(0x88)?;
    if devices != 1 {
        findings.push(Finding {
            impact: Impact::Unusable,
            what: format!("is spread over {devices} devices"),
            remedy: "remove the other devices with `btrfs device remove`",
        });
    }
    let flags = bytes.le64(0x38)?;
    if flags & METADATA_DUMP != 0 {
        findings.push(Finding {
            impact: Impact::Unusable,
            what: "is a dump of metadata without the data (btrfs-image)".to_owned(),
            remedy: "import an image of the file system itself",
        });
    }
    if flags & SEED != 0 {
        findings.push(Finding {
            impact: Impact::Harmless,
            what: "is a seed: it is read-only until a guest adds another device".to_owned(),
            remedy: "to make it writable, clear the flag: `btrfstune -S 0 IMAGE`",
        });
    }
    Some(FileSystem {
        needs_recovery: bytes.le64(0x60)? != 0,
        findings,
        // Its size on this device, not on all devices together.
        ..FileSystem::new("btrfs", block_size(bytes.le32(0x90)?)?, bytes.le64(0xD1)?)
    })
}
