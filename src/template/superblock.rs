//! What a template holds, told from its first bytes.
//!
//! Pure: bytes in, facts out. Templates come from admins and volumes are never looked at, yet an
//! image may be damaged, so no read here can leave the bytes.

/// How many bytes from the start of an image [`detect`] wants to see. The farthest superblock,
/// that of Btrfs, is at 64 KiB.
pub(crate) const PREFIX: usize = 128 << 10;

/// What an image holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A file system over the whole image.
    FileSystem(FileSystem),
    /// A partition table.
    Partitioned(&'static str),
    /// Neither that we know.
    Unknown,
}

/// A file system found in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileSystem {
    /// As `mount` names it.
    pub(crate) fs_type: &'static str,
    /// Bytes per block: what it allocates and frees at least.
    pub(crate) block_size: u32,
    /// It was not unmounted cleanly: a journal waits to be replayed.
    pub(crate) needs_recovery: bool,
}

impl FileSystem {
    fn clean(fs_type: &'static str, block_size: u32) -> Self {
        Self { fs_type, block_size, needs_recovery: false }
    }

    /// Whether it is never written, whatever it is mounted on.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self.fs_type, "squashfs" | "erofs" | "iso9660")
    }
}

/// Tells what an image holds from its first [`PREFIX`] bytes (or fewer, if it is smaller).
pub(crate) fn detect(prefix: &[u8]) -> Content {
    let bytes = Bytes(prefix);
    let found = ext(bytes)
        .or_else(|| xfs(bytes))
        .or_else(|| btrfs(bytes))
        .or_else(|| squashfs(bytes))
        .or_else(|| erofs(bytes))
        .or_else(|| f2fs(bytes))
        .or_else(|| vfat(bytes));
    if let Some(file_system) = found {
        return Content::FileSystem(file_system);
    }
    // Installation media carry a partition table and ISO 9660: firmware reads the one, `mount` the other.
    match (iso9660(bytes), partition_table(bytes)) {
        (Some(file_system), _) => Content::FileSystem(file_system),
        (None, Some(kind)) => Content::Partitioned(kind),
        (None, None) => Content::Unknown,
    }
}

/// Bounds-checked reads; anything outside is `None`.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn array<const N: usize>(self, offset: usize) -> Option<[u8; N]> {
        self.0.get(offset..offset.checked_add(N)?)?.try_into().ok()
    }

    fn u8(self, offset: usize) -> Option<u8> {
        self.0.get(offset).copied()
    }

    fn le16(self, offset: usize) -> Option<u16> {
        self.array(offset).map(u16::from_le_bytes)
    }

    fn le32(self, offset: usize) -> Option<u32> {
        self.array(offset).map(u32::from_le_bytes)
    }

    fn be32(self, offset: usize) -> Option<u32> {
        self.array(offset).map(u32::from_be_bytes)
    }

    fn has(self, offset: usize, magic: &[u8]) -> bool {
        self.0.get(offset..).is_some_and(|rest| rest.starts_with(magic))
    }
}

/// A block size of `1 << shift` bytes, if a file system could have that.
fn power(shift: u32) -> Option<u32> {
    (9..=16).contains(&shift).then(|| 1 << shift)
}

/// A block size as stored, if a file system could have that.
fn block_size(size: u32) -> Option<u32> {
    (size.is_power_of_two() && (512..=1 << 20).contains(&size)).then_some(size)
}

/// ext2, ext3 and ext4 share one superblock at 1 KiB and differ in features.
fn ext(bytes: Bytes) -> Option<FileSystem> {
    const HAS_JOURNAL: u32 = 0x4;
    const RECOVER: u32 = 0x4;
    const JOURNAL_DEVICE: u32 = 0x8;
    // FILETYPE, RECOVER, META_BG
    const EXT3_INCOMPAT: u32 = 0x2 | 0x4 | 0x10;
    // SPARSE_SUPER, LARGE_FILE, BTREE_DIR
    const EXT3_RO_COMPAT: u32 = 0x1 | 0x2 | 0x4;
    const AT: usize = 1024;
    if bytes.le16(AT + 0x38)? != 0xEF53 {
        return None;
    }
    let compat = bytes.le32(AT + 0x5C)?;
    let incompat = bytes.le32(AT + 0x60)?;
    let ro_compat = bytes.le32(AT + 0x64)?;
    if incompat & JOURNAL_DEVICE != 0 {
        return None;
    }
    let old = incompat & !EXT3_INCOMPAT == 0 && ro_compat & !EXT3_RO_COMPAT == 0;
    let fs_type = match (old, compat & HAS_JOURNAL != 0) {
        (true, false) => "ext2",
        (true, true) => "ext3",
        (false, _) => "ext4",
    };
    let block_size = power(bytes.le32(AT + 0x18)?.checked_add(10)?)?;
    Some(FileSystem { fs_type, block_size, needs_recovery: incompat & RECOVER != 0 })
}

fn xfs(bytes: Bytes) -> Option<FileSystem> {
    if !bytes.has(0, b"XFSB") {
        return None;
    }
    Some(FileSystem::clean("xfs", block_size(bytes.be32(4)?)?))
}

fn btrfs(bytes: Bytes) -> Option<FileSystem> {
    const AT: usize = 64 << 10;
    if !bytes.has(AT + 0x40, b"_BHRfS_M") {
        return None;
    }
    Some(FileSystem::clean("btrfs", block_size(bytes.le32(AT + 0x90)?)?))
}

fn squashfs(bytes: Bytes) -> Option<FileSystem> {
    if !bytes.has(0, b"hsqs") {
        return None;
    }
    Some(FileSystem::clean("squashfs", block_size(bytes.le32(12)?)?))
}

fn erofs(bytes: Bytes) -> Option<FileSystem> {
    if bytes.le32(1024)? != 0xE0F5_E1E2 {
        return None;
    }
    Some(FileSystem::clean("erofs", power(bytes.u8(1024 + 12)?.into())?))
}

fn f2fs(bytes: Bytes) -> Option<FileSystem> {
    if bytes.le32(1024)? != 0xF2F5_2010 {
        return None;
    }
    Some(FileSystem::clean("f2fs", power(bytes.le32(1024 + 16)?)?))
}

fn vfat(bytes: Bytes) -> Option<FileSystem> {
    let named = [(54, b"FAT12   "), (54, b"FAT16   "), (82, b"FAT32   ")];
    if !bytes.has(510, &[0x55, 0xAA]) || !named.iter().any(|(at, name)| bytes.has(*at, *name)) {
        return None;
    }
    let sector = u32::from(bytes.le16(11)?);
    let cluster = sector.checked_mul(bytes.u8(13)?.into())?;
    Some(FileSystem::clean("vfat", block_size(cluster)?))
}

fn iso9660(bytes: Bytes) -> Option<FileSystem> {
    bytes.has((32 << 10) + 1, b"CD001").then(|| FileSystem::clean("iso9660", 2048))
}

fn partition_table(bytes: Bytes) -> Option<&'static str> {
    const ENTRIES: usize = 446;
    // With sectors of 512 bytes, and of 4096.
    if bytes.has(512, b"EFI PART") || bytes.has(4096, b"EFI PART") {
        return Some("GPT");
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
    used.then_some("MBR")
}

#[cfg(test)]
mod tests;
