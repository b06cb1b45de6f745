//! How much the kernel writes when it grows a file system, estimated from the superblock.
//!
//! An upper bound, for a limit to be compared with before anything is written. The superblock may be a
//! tenant's: whatever it says, the arithmetic stays within its types.
//!
//! ext4 (Linux, `fs/ext4/resize.c`) writes the descriptors of new groups of blocks, copies of all
//! descriptors into the new groups that hold a backup, and bitmaps of groups that hold metadata; all of
//! that once more into the journal. Inode tables remain holes where descriptors have checksums. XFS
//! (`fs/xfs/xfs_fsops.c`) writes the headers of new allocation groups, and the superblock's copies.
//!
//! The time that a growth takes follows the number of new groups, and the kernel cannot be interrupted
//! meanwhile. So a growth by many groups is done in steps.

/// What the kernel writes, in runs of adjacent blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Writes {
    pub(crate) bytes: u64,
    pub(crate) runs: u64,
}

impl Writes {
    pub(crate) const NONE: Self = Self { bytes: 0, runs: 0 };

    /// Bytes of all chunks that the writes touch: each end of a run may lie within a chunk.
    pub(crate) fn in_chunks(self, chunk_size: u64) -> u64 {
        self.runs.saturating_mul(2 * chunk_size).saturating_add(self.bytes)
    }
}

/// The parts of a file system that grow with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Ext(ExtLayout),
    Xfs(XfsLayout),
}

impl Layout {
    /// The same layout in a file system of `size` bytes.
    pub(crate) fn at(self, size: u64) -> Self {
        match self {
            Self::Ext(layout) => {
                Self::Ext(ExtLayout { blocks: size / layout.block_size, ..layout })
            }
            Self::Xfs(layout) => {
                Self::Xfs(XfsLayout { blocks: size / layout.block_size, ..layout })
            }
        }
    }

    /// What growing to `size` bytes writes. Less than a group is not counted: a file system may leave out the
    /// end of its device, and extending the last group changes a few blocks.
    pub(crate) fn growth_to(self, size: u64) -> Writes {
        match self {
            Self::Ext(layout) => layout.growth_to(size),
            Self::Xfs(layout) => layout.growth_to(size),
        }
    }

    /// The size in bytes at which a growth to `size` bytes should pause first: at the end of a group.
    /// `None` if one step does it.
    pub(crate) fn first_stop(self, size: u64) -> Option<u64> {
        let stop = match self {
            Self::Ext(layout) => layout.stop(),
            Self::Xfs(layout) => layout.stop(),
        };
        stop.filter(|stop| *stop < size)
    }
}

/// ext2, ext3 or ext4. All numbers but the first are in blocks, unless named otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExtLayout {
    pub(crate) block_size: u64,
    pub(crate) blocks: u64,
    pub(crate) first_block: u64,
    /// Blocks of a group; never 0.
    pub(crate) group: u64,
    /// Groups whose bitmaps and inode tables lie together; never 0.
    pub(crate) groups_together: u64,
    /// The inode table of a group.
    pub(crate) inode_table: u64,
    /// Bytes of a group's descriptor.
    pub(crate) descriptor_size: u64,
    /// Reserved behind each copy of the descriptors.
    pub(crate) reserved: u64,
    /// Only some groups hold a backup, instead of all.
    pub(crate) sparse_backups: bool,
    /// Descriptors have checksums, so that bitmaps and inode tables may remain unwritten.
    pub(crate) checksums: bool,
    pub(crate) journal: u64,
}

impl ExtLayout {
    /// Groups that a step adds, in 1.6 s on Linux 6.1 in User-Mode Linux.
    const STEP: u64 = 2048;

    /// Where a step ends. Groups that lie together are added together, since their metadata do as well.
    fn stop(self) -> Option<u64> {
        let groups = self.groups(self.blocks).checked_add(Self::STEP)?;
        let aligned = groups - groups % self.groups_together;
        let end = if aligned > groups - Self::STEP { aligned } else { groups };
        let blocks = end.checked_mul(self.group)?.checked_add(self.first_block)?;
        blocks.checked_mul(self.block_size)
    }

    fn growth_to(self, size: u64) -> Writes {
        let blocks = size / self.block_size;
        if blocks.saturating_sub(self.blocks) < self.group {
            return Writes::NONE;
        }
        let (old, new) = (self.groups(self.blocks), self.groups(blocks));
        let added = new - old;
        let (had, has) = (self.descriptors(old), self.descriptors(new));

        let old_backups = self.backups(old);
        let new_backups = self.backups(new) - old_backups;
        // The superblock and the descriptors behind it, in place or, once the reserved blocks are used up,
        // three times in groups of their own (`meta_bg`).
        let more = (has - had).min(self.reserved);
        let updated = (old_backups + 1).saturating_mul(1 + more);
        let copied = new_backups.saturating_mul(1 + had + self.reserved);
        let moved = (has - had - more).saturating_mul(3);
        // The blocks of the inode that owns the reserved ones.
        let resize_inode = self.reserved + 2;

        // Metadata of groups that lie together are at the start of the first of them.
        let together = added.div_ceil(self.groups_together) + 1;
        let metadata = self.groups_together.saturating_mul(self.inode_table.saturating_add(2));
        let spanned = metadata.div_ceil(self.group).saturating_add(1).min(self.groups_together);
        let (bitmaps, tables) = match self.checksums {
            true => (added.min(together.saturating_mul(spanned) + new_backups), 0),
            false => (added.saturating_mul(2), added.saturating_mul(self.inode_table)),
        };

        // Per transaction, some blocks of each kind, and a descriptor and a commit of its own.
        let journaled = together
            .saturating_mul(8 + spanned)
            .saturating_add(updated)
            .saturating_add(resize_inode.saturating_mul(1 + new_backups))
            .min(self.journal);

        let written = [updated, copied, moved, resize_inode, bitmaps, tables, journaled];
        let blocks = written.into_iter().fold(0, u64::saturating_add);
        let runs = [2 * (old_backups + new_backups + 1), moved, bitmaps, together, 2];
        Writes {
            bytes: blocks.saturating_mul(self.block_size),
            runs: runs.into_iter().fold(0, u64::saturating_add),
        }
    }

    fn groups(self, blocks: u64) -> u64 {
        blocks.saturating_sub(self.first_block).div_ceil(self.group)
    }

    /// Blocks of the descriptors of as many groups.
    fn descriptors(self, groups: u64) -> u64 {
        groups.saturating_mul(self.descriptor_size).div_ceil(self.block_size)
    }

    /// Groups among the first `groups` that hold a backup of the superblock.
    fn backups(self, groups: u64) -> u64 {
        if !self.sparse_backups {
            return groups.saturating_sub(1);
        }
        // Group 1, and the powers of 3, 5 and 7.
        let powers = |base: u64| {
            std::iter::successors(Some(base), |power| power.checked_mul(base))
                .take_while(|power| *power < groups)
                .count() as u64
        };
        u64::from(groups > 1) + [3, 5, 7].map(powers).into_iter().sum::<u64>()
    }
}

/// XFS. All numbers but the first are in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct XfsLayout {
    pub(crate) block_size: u64,
    pub(crate) blocks: u64,
    /// Blocks of an allocation group; never 0.
    pub(crate) group: u64,
    /// Bytes of a sector.
    pub(crate) sector_size: u64,
}

impl XfsLayout {
    /// Roots of a group's trees: free space by place and by size, inodes, free inodes, reverse mappings,
    /// references.
    const ROOTS: u64 = 6;
    /// Sectors of a group's header: the superblock's copy, free space, inodes, the free list.
    const HEADER: u64 = 4;
    /// Bytes of the log that the kernel writes at most, from the mount on.
    const LOG: u64 = 2 << 20;
    /// Groups that a step adds, in 0.6 s on the same machine.
    const STEP: u64 = 1024;

    /// Where a step ends.
    fn stop(self) -> Option<u64> {
        let groups = self.blocks.div_ceil(self.group).checked_add(Self::STEP)?;
        groups.checked_mul(self.group)?.checked_mul(self.block_size)
    }

    fn growth_to(self, size: u64) -> Writes {
        let blocks = size / self.block_size;
        if blocks.saturating_sub(self.blocks) < self.group {
            return Writes::NONE;
        }
        let (old, new) = (self.blocks.div_ceil(self.group), blocks.div_ceil(self.group));
        let header = (Self::HEADER * self.sector_size).div_ceil(self.block_size) + Self::ROOTS;
        let written =
            (new - old).saturating_mul(header).saturating_add(old + Self::LOG / self.block_size);
        Writes { bytes: written.saturating_mul(self.block_size), runs: new + 1 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    /// As `mkfs.ext4` of Debian 12 makes one of 1 GiB.
    fn ext4() -> ExtLayout {
        ExtLayout {
            block_size: 4096,
            blocks: 1 << 18,
            first_block: 0,
            group: 32768,
            groups_together: 16,
            inode_table: 512,
            descriptor_size: 64,
            reserved: 127,
            sparse_backups: true,
            checksums: true,
            journal: 8192,
        }
    }

    fn xfs() -> XfsLayout {
        XfsLayout { block_size: 4096, blocks: 1 << 18, group: 1 << 16, sector_size: 512 }
    }

    #[test]
    fn a_file_system_that_is_as_large_writes_nothing() {
        for layout in [Layout::Ext(ext4()), Layout::Xfs(xfs())] {
            assert_eq!(layout.growth_to(GIB), Writes::NONE);
            assert_eq!(layout.growth_to(0), Writes::NONE);
            assert_eq!(layout.growth_to(GIB + MIB), Writes::NONE, "the last group is extended");
            assert!(layout.growth_to(2 * GIB).bytes > 0);
        }
    }

    #[test]
    fn inode_tables_are_written_only_without_checksums() {
        let tables = 100 * GIB / (128 * MIB) * 2 * MIB;
        assert!(ext4().growth_to(100 * GIB).bytes < 64 * MIB);
        let old = ExtLayout { checksums: false, ..ext4() };
        assert!(old.growth_to(101 * GIB).bytes > tables);
    }

    #[test]
    fn backups_are_in_groups_of_powers() {
        let layout = ext4();
        // 1, 3, 5, 7, 9, 25, 27, 49.
        let found = [0, 1, 2, 4, 8, 28, 50].map(|groups| layout.backups(groups));
        assert_eq!(found, [0, 0, 1, 2, 4, 7, 8]);
        assert_eq!(ExtLayout { sparse_backups: false, ..layout }.backups(8), 7);
    }

    /// The sizes at which a growth to `size` pauses.
    fn stops(mut layout: Layout, size: u64) -> Vec<u64> {
        let next = || {
            let stop = layout.first_stop(size)?;
            layout = layout.at(stop);
            Some(stop)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_growth_by_many_groups_pauses_at_the_ends_of_groups() {
        const TIB: u64 = 1 << 40;
        let ext = |layout| stops(Layout::Ext(layout), TIB);
        // 2048 groups of 128 MiB are 256 GiB; the first step adds 2040 to the 8 that are there.
        assert_eq!(ext(ext4()), [256, 512, 768].map(|size| size * GIB));
        assert!(ext(ExtLayout { blocks: TIB / 4096, ..ext4() }).is_empty());
        assert!(ext(ExtLayout { blocks: (900 * GIB) / 4096 + 1, ..ext4() }).is_empty());
        // A block before the first group, and groups that do not lie together.
        let small = ExtLayout {
            block_size: 1024,
            blocks: 8192 * 10 + 1,
            first_block: 1,
            group: 8192,
            groups_together: 1,
            ..ext4()
        };
        assert_eq!(stops(Layout::Ext(small), 20 * GIB), [(10 + 2048) * 8 * MIB + 1024]);
        // All in one step, rather than none.
        let apart = ExtLayout { groups_together: 1 << 20, ..ext4() };
        assert_eq!(ext(apart)[0], 257 * GIB);

        assert_eq!(stops(Layout::Xfs(xfs()), TIB), [257, 513, 769].map(|size| size * GIB));
    }

    #[test]
    fn larger_chunks_cost_more() {
        let writes = Writes { bytes: 8192, runs: 2 };
        assert_eq!(writes.in_chunks(4096), 8192 + 4 * 4096);
        assert_eq!(writes.in_chunks(1 << 20), 8192 + (4 << 20));
    }

    proptest! {
        #[test]
        fn no_layout_is_too_odd(
            numbers in proptest::array::uniform8(any::<u64>()), size: u64,
            shift in 9u32..=20, flags in any::<(bool, bool)>(),
        ) {
            let [blocks, first_block, group, together, inode_table, descriptors, reserved, journal] =
                numbers;
            let ext = ExtLayout {
                block_size: 1 << shift,
                blocks,
                first_block: first_block >> 32,
                group: group.max(1),
                groups_together: together.max(1),
                inode_table,
                descriptor_size: descriptors >> 48,
                reserved: reserved >> 48,
                sparse_backups: flags.0,
                checksums: flags.1,
                journal,
            };
            let xfs = XfsLayout {
                block_size: 1 << shift,
                blocks,
                group: group.max(1),
                sector_size: 1 << shift,
            };
            for layout in [Layout::Ext(ext), Layout::Xfs(xfs)] {
                layout.growth_to(size).in_chunks(1 << 20);
                if let Some(stop) = layout.first_stop(size) {
                    prop_assert!(stop < size);
                    let next = layout.at(stop).first_stop(size);
                    prop_assert!(next.is_none_or(|next| next > stop), "{next:?} after {stop}");
                }
            }
        }

        #[test]
        fn growing_further_never_writes_less(size in GIB..1 << 44, more in 0..1u64 << 40) {
            for layout in [Layout::Ext(ext4()), Layout::Xfs(xfs())] {
                prop_assert!(layout.growth_to(size).bytes <= layout.growth_to(size + more).bytes);
            }
        }
    }
}
