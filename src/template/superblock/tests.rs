use proptest::prelude::*;

use super::*;

/// An image of zeros with `parts` written over it.
fn image(parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; PREFIX];
    for (at, part) in parts {
        bytes[*at..at + part.len()].copy_from_slice(part);
    }
    bytes
}

/// The image with `part` written over it.
fn with(mut bytes: Vec<u8>, at: usize, part: &[u8]) -> Vec<u8> {
    bytes[at..at + part.len()].copy_from_slice(part);
    bytes
}

/// With 1000 blocks and, if it has a journal, the journal in inode 8.
fn ext_image(log_block: u32, compat: u32, incompat: u32, ro_compat: u32) -> Vec<u8> {
    image(&[
        (1024 + 0x04, &1000u32.to_le_bytes()),
        (1024 + 0x18, &log_block.to_le_bytes()),
        (1024 + 0x38, &[0x53, 0xEF]),
        (1024 + 0x3A, &[1]),
        (1024 + 0x5C, &compat.to_le_bytes()),
        (1024 + 0x60, &incompat.to_le_bytes()),
        (1024 + 0x64, &ro_compat.to_le_bytes()),
        (1024 + 0xE0, &[8]),
    ])
}

/// As mkfs.ext4 of Debian 12 writes them.
fn ext4_image() -> Vec<u8> {
    ext_image(2, 0x3C, 0x2C2, 0x46B)
}

/// As mkfs.xfs of Debian 12 writes them.
fn xfs_image() -> Vec<u8> {
    image(&[
        (0, b"XFSB"),
        (4, &4096u32.to_be_bytes()),
        (8, &1000u64.to_be_bytes()),
        (48, &16u64.to_be_bytes()),
        (100, &0xB4A5u16.to_be_bytes()),
        (212, &0xDu32.to_be_bytes()),
        (216, &0xBu32.to_be_bytes()),
    ])
}

fn btrfs_image(devices: u64) -> Vec<u8> {
    image(&[
        (0x10040, b"_BHRfS_M"),
        (0x10088, &devices.to_le_bytes()),
        (0x10090, &4096u32.to_le_bytes()),
        (0x100D1, &(1u64 << 30).to_le_bytes()),
    ])
}

fn erofs_image() -> Vec<u8> {
    image(&[(1024, &0xE0F5_E1E2u32.to_le_bytes()), (1036, &[12]), (1060, &[100])])
}

fn file_system(bytes: &[u8]) -> FileSystem {
    match detect(bytes) {
        Content::FileSystem(found) => found,
        other => panic!("{other:?}"),
    }
}

fn found(bytes: &[u8]) -> (&'static str, u32, bool) {
    let FileSystem { fs_type, block_size, needs_recovery, .. } = file_system(bytes);
    (fs_type, block_size, needs_recovery)
}

/// The impact and the words of each finding.
fn findings(bytes: &[u8]) -> Vec<(Impact, String)> {
    let found = file_system(bytes);
    found.findings.into_iter().map(|finding| (finding.impact, finding.what)).collect()
}

/// The parts of a superblock that decide what growing writes, as `mkfs.ext4` of Debian 12 writes them for
/// 1 GiB.
fn layout_of_ext4() -> Vec<u8> {
    [
        (0x04, &(1u32 << 18).to_le_bytes()[..]),
        (0x20, &32768u32.to_le_bytes()),
        (0x28, &8192u32.to_le_bytes()),
        (0x4C, &[1]),
        (0x58, &256u16.to_le_bytes()),
        (0xCE, &127u16.to_le_bytes()),
        (0xFD, &[1]),
        (0xFE, &64u16.to_le_bytes()),
        (0x14C, &(32u32 << 20).to_le_bytes()),
        (0x174, &[4]),
    ]
    .into_iter()
    .fold(ext4_image(), |bytes, (at, part)| with(bytes, 1024 + at, part))
}

#[test]
fn what_growing_writes_follows_from_the_layout() {
    const GIB: u64 = 1 << 30;
    let grown = |bytes: &[u8]| file_system(bytes).growth_to(100 * GIB).bytes;
    let ext4 = layout_of_ext4();
    assert!((4 << 20..64 << 20).contains(&grown(&ext4)), "{}", grown(&ext4));
    assert_eq!(file_system(&ext4).growth_to(GIB).bytes, 0);
    // Without checksums, each of the new groups gets its inode table at once.
    let old = with(ext4.clone(), 1024 + 0x64, &0x4Bu32.to_le_bytes());
    assert!(grown(&old) > 1500 << 20, "{}", grown(&old));
    // A journal of unknown size, and no groups.
    assert!(grown(&with(ext4.clone(), 1024 + 0xFD, &[0])) >= grown(&ext4));
    assert_eq!(grown(&with(ext4, 1024 + 0x20, &[0; 4])), 0);

    let xfs = with(with(xfs_image(), 84, &65536u32.to_be_bytes()), 102, &512u16.to_be_bytes());
    assert!((4 << 20..32 << 20).contains(&grown(&xfs)), "{}", grown(&xfs));
    assert_eq!(grown(&xfs_image()), 0, "no groups");
}

/// Checks that the only finding has this impact and contains `word`.
fn assert_finding(bytes: &[u8], impact: Impact, word: &str) {
    let found = findings(bytes);
    assert!(
        matches!(&found[..], [(what, words)] if *what == impact && words.contains(word)),
        "{word}: {found:?}"
    );
}

#[test]
fn ext_generations_are_told_apart_by_their_features() {
    assert_eq!(found(&ext_image(0, 0x38, 0x2, 0x3)), ("ext2", 1024, false));
    assert_eq!(found(&ext_image(2, 0x3C, 0x2, 0x3)), ("ext3", 4096, false));
    assert_eq!(found(&ext4_image()), ("ext4", 4096, false));
    assert_eq!(found(&ext_image(2, 0x38, 0x2C2, 0x46B)), ("ext4", 4096, false));
    assert_eq!(found(&ext_image(2, 0x3C, 0x2C6, 0x46B)), ("ext4", 4096, true));
    assert_eq!(detect(&ext_image(u32::MAX, 0, 0, 0)), Content::Unknown);
}

#[test]
fn other_file_systems_are_recognised() {
    assert_eq!(found(&xfs_image()), ("xfs", 4096, false));
    assert_eq!(found(&btrfs_image(1)), ("btrfs", 4096, false));
    let log: (usize, &[u8]) = (0x10060, &[1]);
    assert_eq!(found(&with(btrfs_image(1), log.0, log.1)), ("btrfs", 4096, true));
    let squashfs = image(&[(0, b"hsqs"), (12, &131_072u32.to_le_bytes())]);
    assert_eq!(found(&squashfs), ("squashfs", 131_072, false));
    assert_eq!(found(&erofs_image()), ("erofs", 4096, false));
    let f2fs = image(&[(1024, &0xF2F5_2010u32.to_le_bytes()), (1040, &12u32.to_le_bytes())]);
    assert_eq!(found(&f2fs), ("f2fs", 4096, false));
    let vfat =
        image(&[(11, &512u16.to_le_bytes()), (13, &[8]), (82, b"FAT32   "), (510, &[0x55, 0xAA])]);
    assert_eq!(found(&vfat), ("vfat", 4096, false));
    assert_eq!(found(&image(&[(0x8001, b"CD001")])), ("iso9660", 2048, false));
}

#[test]
fn a_file_system_says_how_large_it_is() {
    let size = |bytes: &[u8]| file_system(bytes).size;
    assert_eq!(size(&ext4_image()), 4096 * 1000);
    let wide = with(ext4_image(), 1024 + 0x150, &[1]);
    assert_eq!(size(&wide), 4096 * (1000 + (1 << 32)));
    let narrow = with(ext_image(2, 0x3C, 0x242, 0x46B), 1024 + 0x150, &[1]);
    assert_eq!(size(&narrow), 4096 * 1000, "without the feature 64bit, this field means nothing");
    assert_eq!(size(&with(wide, 1024 + 0x150, &[0xFF; 4])), u64::MAX);
    assert_eq!(size(&xfs_image()), 4096 * 1000);
    assert_eq!(size(&with(xfs_image(), 8, &[0xFF; 8])), u64::MAX);
    assert_eq!(size(&btrfs_image(1)), 1 << 30);
    assert_eq!(size(&erofs_image()), 4096 * 100);
    let squashfs = image(&[(0, b"hsqs"), (12, &131_072u32.to_le_bytes()), (40, &[0, 16])]);
    assert_eq!(size(&squashfs), 4096);
    let f2fs =
        image(&[(1024, &0xF2F5_2010u32.to_le_bytes()), (1040, &12u32.to_le_bytes()), (1060, &[7])]);
    assert_eq!(size(&f2fs), 7 * 4096);
    let fat16: [(usize, &[u8]); 5] = [
        (11, &512u16.to_le_bytes()),
        (13, &[8]),
        (19, &100u16.to_le_bytes()),
        (54, b"FAT16   "),
        (510, &[0x55, 0xAA]),
    ];
    assert_eq!(size(&image(&fat16)), 100 * 512);
    let iso = image(&[(0x8001, b"CD001"), (0x8050, &[9]), (0x8080, &2048u16.to_le_bytes())]);
    assert_eq!(size(&iso), 9 * 2048);
}

#[test]
fn what_mkfs_makes_has_nothing_unusual() {
    for usual in [ext4_image(), ext_image(0, 0x38, 0x2, 0x3), xfs_image(), btrfs_image(1)] {
        assert_eq!(findings(&usual), []);
    }
    // `orphan_file` and `metadata_csum_seed`, as later versions of mkfs.ext4 turn on.
    assert_eq!(findings(&ext_image(2, 0x103C, 0x22C2, 0x1_046B)), []);
}

#[test]
fn a_file_system_that_needs_another_device_is_found() {
    let no_inode = with(ext4_image(), 1024 + 0xE0, &[0]);
    assert_finding(&no_inode, Impact::Unusable, "journal on another device");
    let device = with(ext4_image(), 1024 + 0xE4, &[1]);
    assert_finding(&device, Impact::Unusable, "journal on another device");
    let none = with(ext_image(2, 0x38, 0x2C2, 0x46B), 1024 + 0xE0, &[0]);
    assert_eq!(findings(&none), [], "it has no journal at all");
    assert_finding(&ext_image(2, 0, 0x8, 0), Impact::Unusable, "is the journal of another");
    assert_finding(&with(xfs_image(), 48, &[0; 8]), Impact::Unusable, "log on another device");
    assert_finding(&with(xfs_image(), 23, &[1]), Impact::Unusable, "realtime");
    assert_finding(&btrfs_image(2), Impact::Unusable, "2 devices");
    let erofs = with(with(erofs_image(), 1024 + 80, &[8]), 1024 + 86, &[3]);
    assert_finding(&erofs, Impact::Unusable, "3 other devices");
}

#[test]
fn a_file_system_that_is_not_whole_is_found() {
    assert_finding(&with(xfs_image(), 126, &[1]), Impact::Unusable, "is unfinished");
    assert_finding(&with(xfs_image(), 219, &[0x1B]), Impact::Unusable, "in need of repair");
    let dump = with(btrfs_image(1), 0x10038, &(1u64 << 33).to_le_bytes());
    assert_finding(&dump, Impact::Unusable, "metadata");
}

#[test]
fn what_an_image_would_decide_for_the_host_is_found() {
    let options = with(ext4_image(), 1024 + 0x200, b"errors=panic,journal_path=/dev/sda");
    assert_finding(&options, Impact::Unmountable, "\"errors=panic,journal_path=/dev/sda\"");
    let hostile = with(ext4_image(), 1024 + 0x200, &[b'\n'; 64]);
    assert_finding(&hostile, Impact::Unmountable, &"\\n".repeat(64));
    assert_finding(&ext_image(2, 0x3C, 0x3C2, 0x46B), Impact::Unmountable, "mmp");
    assert_finding(&ext_image(2, 0x3C, 0x2C2, 0x146B), Impact::Unmountable, "read-only");
    // Reactions to errors and barriers are not found: calf's own mount options override them.
    let overridden = with(ext4_image(), 1024 + 0x101, &[1]);
    assert_eq!(findings(&with(overridden, 1024 + 0x3C, &[3])), []);
}

#[test]
fn what_some_kernels_do_not_mount_is_found() {
    assert_finding(&ext_image(2, 0x3C, 0x2_02C2, 0x46B), Impact::KernelDependent, "casefold");
    assert_finding(&ext_image(2, 0x3C, 0x2C2, 0x56B), Impact::KernelDependent, "quotas");
    assert_finding(&ext_image(2, 0x3C, 0x2C2, 0x256B), Impact::KernelDependent, "quotas");
    assert_finding(&ext_image(6, 0x3C, 0x2C2, 0x46B), Impact::KernelDependent, "64 KiB");
    let unknown = ext_image(2, 0x3C, 0x8000_02C2, 0x8000_046B);
    assert_finding(&unknown, Impact::KernelDependent, "incompat 0x80000000, ro_compat 0x80000000");
    let old = with(xfs_image(), 100, &0xB4A4u16.to_be_bytes());
    assert_finding(&old, Impact::KernelDependent, "version 4");
    let later = with(xfs_image(), 219, &[0x2B]);
    assert_finding(&later, Impact::NeedsKernel(5, 19), "nrext64");
    let unknown = with(xfs_image(), 216, &[0x80]);
    assert_finding(&unknown, Impact::KernelDependent, "incompat 0x80000000, ro_compat 0x0");
    let large = with(xfs_image(), 4, &65536u32.to_be_bytes());
    assert_finding(&large, Impact::NeedsKernel(6, 12), "64 KiB");
}

#[test]
fn what_does_not_grow_is_found() {
    assert_finding(&ext_image(2, 0x23C, 0x2C2, 0x46B), Impact::NotGrowable, "sparse_super2");
    assert_finding(&with(ext4_image(), 1024 + 0x3A, &[3]), Impact::NotGrowable, "errors");
    let seed = with(btrfs_image(1), 0x10038, &(1u64 << 32).to_le_bytes());
    assert_finding(&seed, Impact::Harmless, "seed");
}

#[test]
fn what_fills_a_whole_disk_is_named() {
    let mbr: (usize, &[u8]) = (510, &[0x55, 0xAA]);
    let entry: &[u8] = &[0x80, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0];
    let is = |parts: &[(usize, &[u8])], word: &str| match detect(&image(parts)) {
        Content::Disk(Disk { what, size }) => {
            assert!(what.contains(word), "{what}");
            size
        }
        other => panic!("{word}: {other:?}"),
    };
    // From sector 2048, of 65,536 sectors.
    assert_eq!(is(&[mbr, (446, entry)], "MBR"), (2048 + 65_536) * 512);
    let gpt: (usize, &[u8]) = (512, b"EFI PART");
    assert_eq!(is(&[mbr, gpt], "GPT"), 0, "no partition in it");
    let protective = [entry[..4].to_vec(), vec![0xEE], vec![0xFF; 11]].concat();
    let (table, second): ([(usize, &[u8]); 3], &[u8]) = (
        [(584, &2u64.to_le_bytes()), (592, &128u32.to_le_bytes()), (596, &128u32.to_le_bytes())],
        &[[1; 16], [2; 16]].concat(),
    );
    let end = 9_999_u64.to_le_bytes();
    let parts = [mbr, gpt, (446, &protective), (1024 + 128, second), (1024 + 168, &end)];
    assert_eq!(is(&[&parts[..], &table].concat(), "GPT"), 10_000 * 512);
    assert_eq!(is(&[(446, &protective), mbr], "MBR"), 0, "it may have any size");
    is(&[(0, b"LUKS\xBA\xBE")], "LUKS");
    is(&[(512, b"LABELONE")], "LVM");
    is(&[(4086, b"SWAPSPACE2")], "swap");
    assert_eq!(detect(&image(&[mbr])), Content::Unknown, "no partition in it");
    assert_eq!(detect(&image(&[mbr, (446, &[0xE8; 64])])), Content::Unknown, "boot code");
}

#[test]
fn nothing_is_found_in_nothing() {
    assert_eq!(detect(&[]), Content::Unknown);
    assert_eq!(detect(&image(&[])), Content::Unknown);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        detect(&bytes);
    }

    #[test]
    fn no_damage_makes_it_panic(
        start in 0usize..6,
        cut in 0..PREFIX,
        damage in prop::collection::vec((0..PREFIX, any::<u8>()), 0..64),
        near in prop::collection::vec((0..2048_usize, any::<u8>()), 0..64),
    ) {
        let starts = [
            ext4_image(),
            xfs_image(),
            btrfs_image(1),
            image(&[(0, b"hsqs"), (12, &[0xFF; 4])]),
            erofs_image(),
            image(&[(11, &[0xFF; 8]), (54, b"FAT16   "), (510, &[0x55, 0xAA])]),
        ];
        let mut bytes = starts[start].clone();
        for (at, value) in damage.into_iter().chain(near) {
            bytes[at] = value;
        }
        bytes.truncate(cut);
        if let Content::FileSystem(f) = detect(&bytes) {
            prop_assert!(f.block_size.is_power_of_two() && f.block_size >= 512);
        }
    }
}
