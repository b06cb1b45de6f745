use std::io::Read as _;

use super::*;

/// An MBR with these entries: type, first sector, sectors.
fn mbr(entries: &[(u8, u32, u32)]) -> Vec<u8> {
    let mut disk = vec![0; TABLE];
    for (n, (kind, start, length)) in entries.iter().enumerate() {
        let entry = &mut disk[446 + 16 * n..][..16];
        entry[4] = *kind;
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..16].copy_from_slice(&length.to_le_bytes());
    }
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    disk
}

fn refusal(disk: &[u8], wanted: &str) -> String {
    let wanted = wanted.parse().expect("a partition");
    find(disk, &wanted, "DISK").expect_err("a refusal").report()
}

#[test]
fn a_partition_of_an_mbr_is_found_by_type_and_number() {
    let disk = mbr(&[(0xEF, 2048, 2048), (0x83, 4096, 8192), (0x05, 65536, 64)]);
    let root = Place { start: 4096 * 512, length: 8192 * 512 };
    for wanted in ["root", "2"] {
        assert_eq!(find(&disk, &wanted.parse().unwrap(), "DISK").unwrap(), root);
    }
    for (wanted, words) in [("3", "no partition of it is `3`"), ("boot", "1 (not for a root")] {
        let said = refusal(&disk, wanted);
        assert!(said.contains(words) && said.contains("--partition NUMBER"), "{said}");
    }
    let said = refusal(&mbr(&[(0x83, 1, 8), (0x83, 9, 8)]), "root");
    assert!(said.contains("several partitions") && said.contains("2 (Linux, 4 KiB)"), "{said}");
}

#[test]
fn what_has_no_table_says_so() {
    assert!(refusal(&vec![0; TABLE], "root").contains("no partition table"));
    assert!(refusal(&[], "root").contains("no partition table"));
    assert!(refusal(&mbr(&[]), "root").contains("no primary partition"));
    let mut code = mbr(&[(0x83, 1, 8)]);
    code[446] = 0x33;
    assert!(refusal(&code, "root").contains("no partition table"));
}

#[test]
fn headers_that_the_library_would_believe_are_refused() {
    let mut header =
        gptman::GPTHeader::new_from(&mut std::io::Cursor::new(vec![0; TABLE]), 512, [1; 16])
            .unwrap();
    for (count, size, at) in [
        (u32::MAX, 128, 2),
        (1025, 128, 2),
        (128, 0, 2),
        (128, 4096, 2),
        (128, 128, u64::MAX),
        (128, 128, 1 << 40),
    ] {
        header.number_of_partition_entries = count;
        header.size_of_partition_entry = size;
        header.partition_entry_lba = at;
        header.update_crc32_checksum();
        let mut disk = vec![0; TABLE];
        let mut bytes = std::io::Cursor::new(&mut disk[512..]);
        // The library writes only headers with their entries.
        write(&header, &mut bytes);
        let said = refusal(&disk, "root");
        assert!(said.contains("unusual form"), "{count} {size} {at}: {said}");
    }
}

fn write(header: &gptman::GPTHeader, to: &mut impl std::io::Write) {
    for part in [
        &header.signature[..],
        &header.revision,
        &header.header_size.to_le_bytes(),
        &header.crc32_checksum.to_le_bytes(),
        &header.reserved,
        &header.primary_lba.to_le_bytes(),
        &header.backup_lba.to_le_bytes(),
        &header.first_usable_lba.to_le_bytes(),
        &header.last_usable_lba.to_le_bytes(),
        &header.disk_guid,
        &header.partition_entry_lba.to_le_bytes(),
        &header.number_of_partition_entries.to_le_bytes(),
        &header.size_of_partition_entry.to_le_bytes(),
        &header.partition_entry_array_crc32.to_le_bytes(),
    ] {
        to.write_all(part).expect("written");
    }
}

#[test]
fn a_window_reads_all_of_the_disk_and_gives_the_partition() {
    let disk: Vec<u8> = (0..=255).collect();
    let mut left = &disk[..];
    let mut content = Vec::new();
    Window::new(&mut left, Place { start: 16, length: 32 }).read_to_end(&mut content).unwrap();
    assert_eq!(content, disk[16..48]);
    assert!(left.is_empty());
    for place in [Place { start: 300, length: 1 }, Place { start: 200, length: 100 }] {
        let error = Window::new(&disk[..], place).read_to_end(&mut content).unwrap_err();
        assert!(error.to_string().contains("cut short"), "{error}");
    }
}
