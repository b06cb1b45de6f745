use super::*;
use crate::template::superblock::{Disk, Finding};

const KERNEL: Option<(u32, u32)> = Some((6, 1));

fn ext4(size: u64, impact: Option<Impact>) -> FileSystem {
    let finding = |impact| Finding { impact, what: "is odd".to_owned(), remedy: "repair it" };
    FileSystem {
        findings: impact.map(finding).into_iter().collect(),
        ..FileSystem::new("ext4", 4096, size)
    }
}

fn refusal(found: &FileSystem, size: u64) -> String {
    match refuse(found, size, "FILE") {
        Ok(()) => String::new(),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            error.report()
        }
    }
}

#[test]
fn a_file_system_that_its_image_does_not_hold_is_refused() {
    let said = refusal(&ext4(1 << 30, None), 700 << 20);
    assert!(said.contains("1 GiB (1073741824 bytes)"), "{said}");
    assert!(said.contains("700 MiB (734003200 bytes)"), "{said}");
    assert_eq!(refusal(&ext4(1 << 30, None), 1 << 30), "");
    let said = refusal(&ext4((1 << 30) + 1, None), 1 << 30);
    assert!(said.contains("1073741825 bytes"), "{said}");
    assert_eq!(refusal(&ext4(700 << 20, None), 1 << 30), "");
}

#[test]
fn a_disk_that_its_image_does_not_hold_is_refused() {
    let mut disk = vec![0; 4096];
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    // A partition of sectors 4 to 7.
    disk[446..462].copy_from_slice(&[0, 0, 0, 0, 0x83, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0]);
    inspect_prefix(&disk, 4096, "FILE").unwrap();
    let said = inspect_prefix(&disk[..2048], 2048, "FILE").unwrap_err().report();
    assert!(said.contains("last partition ends at 4 KiB (4096 bytes)"), "{said}");
}

#[test]
fn an_unusable_image_is_refused_and_an_unusual_one_causes_a_warning() {
    let refused = refusal(&ext4(4096, Some(Impact::Unusable)), 4096);
    assert!(refused.contains("its ext4 is odd; repair it"), "{refused}");
    for (impact, effect) in [
        (Impact::Unmountable, "calf does not mount them"),
        (Impact::KernelDependent, "on other kernels"),
        (Impact::NeedsKernel(6, 2), "on this kernel"),
        (Impact::NotGrowable, "larger than the template"),
        (Impact::Harmless, "is odd; repair it"),
    ] {
        let found = ext4(4096, Some(impact));
        assert_eq!(refusal(&found, 4096), "");
        let told = warnings(&Content::FileSystem(found), 4096, KERNEL);
        let [told] = &told[..] else { panic!("{told:?}") };
        assert!(told.contains("its ext4 is odd") && told.contains("repair it"), "{told}");
        assert!(told.contains(effect), "{told}");
    }
    let here = Content::FileSystem(ext4(4096, Some(Impact::NeedsKernel(6, 1))));
    assert_eq!(warnings(&here, 4096, KERNEL), Vec::<String>::new());
    let told = warnings(&here, 4096, None).join("\n");
    assert!(told.contains("on older kernels"), "{told}");
}

#[test]
fn what_may_surprise_users_causes_a_warning() {
    let told =
        |found: FileSystem, size| warnings(&Content::FileSystem(found), size, KERNEL).join("\n");
    assert_eq!(told(ext4(1 << 30, None), 1 << 30), "");
    assert_eq!(told(ext4((1 << 30) - (8 << 20), None), 1 << 30), "", "mkfs may omit a last group");
    let small = told(ext4(700 << 20, None), 1 << 30);
    assert!(small.contains("700 MiB of the image's 1 GiB"), "{small}");
    let dirty = told(FileSystem { needs_recovery: true, ..ext4(4096, None) }, 4096);
    assert!(dirty.contains("reader-only mounts fail"), "{dirty}");
    let blocks = told(FileSystem { block_size: 1024, ..ext4(4096, None) }, 4096);
    assert!(blocks.contains("1024 bytes") && blocks.contains("TRIM"), "{blocks}");
    let squashfs = FileSystem { fs_type: "squashfs", block_size: 131_072, ..ext4(4096, None) };
    assert_eq!(told(squashfs, 1 << 30), "", "a read-only file system");

    let disk = Disk { what: "a partition table (GPT)", size: 4096 };
    let disk = warnings(&Content::Disk(disk), 4096, KERNEL).join("\n");
    assert!(disk.contains("GPT") && disk.contains("--partition root"), "{disk}");
    let unknown = warnings(&Content::Unknown, 4096, KERNEL).join("\n");
    assert!(unknown.contains("no file system"), "{unknown}");
}
