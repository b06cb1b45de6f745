//! File systems that only guests mount.

use crate::template::superblock::bytes::{Bytes, block_size, power};
use crate::template::superblock::file_system::{FileSystem, Finding, Impact};

pub(super) fn squashfs(bytes: Bytes) -> Option<FileSystem> {
    if !bytes.has(0, b"hsqs") {
        return None;
    }
    Some(FileSystem::new("squashfs", block_size(bytes.le32(12)?)?, bytes.le64(40)?))
}

pub(super) fn erofs(bytes: Bytes) -> Option<FileSystem> {
    const DEVICE_TABLE: u32 = 0x8;
    let bytes = bytes.from(1024);
    if bytes.le32(0)? != 0xE0F5_E1E2 {
        return None;
    }
    let block_size = power(bytes.u8(12)?.into())?;
    let size = u64::from(bytes.le32(36)?).saturating_mul(block_size.into());
    let mut found = FileSystem::new("erofs", block_size, size);
    let devices = bytes.le16(86)?;
    if bytes.le32(80)? & DEVICE_TABLE != 0 && devices != 0 {
        found.findings.push(Finding {
            impact: Impact::Unusable,
            what: format!("keeps data on {devices} other devices"),
            remedy: "make the image without extra devices, with all data inside",
        });
    }
    Some(found)
}

pub(super) fn f2fs(bytes: Bytes) -> Option<FileSystem> {
    let bytes = bytes.from(1024);
    if bytes.le32(0)? != 0xF2F5_2010 {
        return None;
    }
    let block_size = power(bytes.le32(16)?)?;
    let size = bytes.le64(36)?.saturating_mul(block_size.into());
    Some(FileSystem::new("f2fs", block_size, size))
}

pub(super) fn vfat(bytes: Bytes) -> Option<FileSystem> {
    let named = [(54, b"FAT12   "), (54, b"FAT16   "), (82, b"FAT32   ")];
    if !bytes.has(510, &[0x55, 0xAA]) || !named.iter().any(|(at, name)| bytes.has(*at, *name)) {
        return None;
    }
    let sector = u32::from(bytes.le16(11)?);
    let cluster = sector.checked_mul(bytes.u8(13)?.into())?;
    let sectors = match bytes.le16(19)? {
        0 => bytes.le32(32)?,
        few => few.into(),
    };
    Some(FileSystem::new("vfat", block_size(cluster)?, u64::from(sectors) * u64::from(sector)))
}

pub(super) fn iso9660(bytes: Bytes) -> Option<FileSystem> {
    let bytes = bytes.from(32 << 10);
    if !bytes.has(1, b"CD001") {
        return None;
    }
    let block_size = block_size(bytes.le16(128)?.into()).unwrap_or(2048);
    let size = u64::from(bytes.le32(80)?) * u64::from(block_size);
    Some(FileSystem::new("iso9660", block_size, size))
}
