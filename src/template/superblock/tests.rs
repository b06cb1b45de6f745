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

fn ext_image(log_block: u32, compat: u32, incompat: u32, ro_compat: u32) -> Vec<u8> {
    image(&[
        (1024 + 0x18, &log_block.to_le_bytes()),
        (1024 + 0x38, &[0x53, 0xEF]),
        (1024 + 0x5C, &compat.to_le_bytes()),
        (1024 + 0x60, &incompat.to_le_bytes()),
        (1024 + 0x64, &ro_compat.to_le_bytes()),
    ])
}

fn found(bytes: &[u8]) -> (&'static str, u32, bool) {
    match detect(bytes) {
        Content::FileSystem(f) => (f.fs_type, f.block_size, f.needs_recovery),
        other => panic!("{other:?}"),
    }
}

#[test]
fn ext_generations_are_told_apart_by_their_features() {
    assert_eq!(found(&ext_image(0, 0x38, 0x2, 0x3)), ("ext2", 1024, false));
    assert_eq!(found(&ext_image(2, 0x3C, 0x2, 0x3)), ("ext3", 4096, false));
    // As mkfs.ext4 of Debian 12 writes them.
    assert_eq!(found(&ext_image(2, 0x3C, 0x2C2, 0x46B)), ("ext4", 4096, false));
    assert_eq!(found(&ext_image(2, 0x38, 0x2C2, 0x46B)), ("ext4", 4096, false));
    assert_eq!(found(&ext_image(2, 0x3C, 0x2C6, 0x46B)), ("ext4", 4096, true));
    assert_eq!(detect(&ext_image(2, 0, 0x8, 0)), Content::Unknown, "an external journal");
    assert_eq!(detect(&ext_image(u32::MAX, 0, 0, 0)), Content::Unknown);
}

#[test]
fn other_file_systems_are_recognised() {
    let xfs = image(&[(0, b"XFSB"), (4, &4096u32.to_be_bytes())]);
    assert_eq!(found(&xfs), ("xfs", 4096, false));
    let btrfs = image(&[(0x10040, b"_BHRfS_M"), (0x10090, &4096u32.to_le_bytes())]);
    assert_eq!(found(&btrfs), ("btrfs", 4096, false));
    let squashfs = image(&[(0, b"hsqs"), (12, &131_072u32.to_le_bytes())]);
    assert_eq!(found(&squashfs), ("squashfs", 131_072, false));
    let erofs = image(&[(1024, &0xE0F5_E1E2u32.to_le_bytes()), (1036, &[12])]);
    assert_eq!(found(&erofs), ("erofs", 4096, false));
    let f2fs = image(&[(1024, &0xF2F5_2010u32.to_le_bytes()), (1040, &12u32.to_le_bytes())]);
    assert_eq!(found(&f2fs), ("f2fs", 4096, false));
    let vfat =
        image(&[(11, &512u16.to_le_bytes()), (13, &[8]), (82, b"FAT32   "), (510, &[0x55, 0xAA])]);
    assert_eq!(found(&vfat), ("vfat", 4096, false));
    assert_eq!(found(&image(&[(0x8001, b"CD001")])), ("iso9660", 2048, false));
}

#[test]
fn partition_tables_are_recognised() {
    let mbr: (usize, &[u8]) = (510, &[0x55, 0xAA]);
    let entry: &[u8] = &[0x80, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0];
    assert_eq!(detect(&image(&[mbr, (446, entry)])), Content::Partitioned("MBR"));
    assert_eq!(detect(&image(&[mbr, (512, b"EFI PART")])), Content::Partitioned("GPT"));
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
    ) {
        let starts = [
            ext_image(2, 0x3C, 0x2C2, 0x46B),
            image(&[(0, b"XFSB"), (4, &[0xFF; 4])]),
            image(&[(0x10040, b"_BHRfS_M"), (0x10090, &[0xFF; 4])]),
            image(&[(0, b"hsqs"), (12, &[0xFF; 4])]),
            image(&[(1024, &0xE0F5_E1E2u32.to_le_bytes()), (1036, &[0xFF])]),
            image(&[(11, &[0xFF; 8]), (54, b"FAT16   "), (510, &[0x55, 0xAA])]),
        ];
        let mut bytes = starts[start].clone();
        for (at, value) in damage {
            bytes[at] = value;
        }
        bytes.truncate(cut);
        if let Content::FileSystem(f) = detect(&bytes) {
            prop_assert!(f.block_size.is_power_of_two() && f.block_size >= 512);
        }
    }
}
