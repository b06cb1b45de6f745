use super::*;

/// A header of version 3 for a disk of this size: clusters of 64 KiB, an L1 table of one entry in the second.
pub(crate) fn header(size: u64) -> Vec<u8> {
    let mut head = vec![0; 112];
    head[..4].copy_from_slice(MAGIC);
    for (at, value) in [(4, 3_u32), (20, 16), (36, 1), (96, 4), (100, 104)] {
        head[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
    for (at, value) in [(24, size), (40, 64 << 10)] {
        head[at..at + 8].copy_from_slice(&value.to_be_bytes());
    }
    head
}

/// The header with these bytes at an offset.
fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut head = header(1 << 20);
    head.resize(4096, 0);
    head[at..at + bytes.len()].copy_from_slice(bytes);
    head
}

fn refusal(head: &[u8]) -> Error {
    Header::parse(head, "FILE").expect_err("a refusal")
}

#[test]
fn what_calf_reads_is_read() {
    let plain = Header::parse(&header(1 << 20), "FILE").unwrap();
    assert_eq!(
        (plain.disk_size(), plain.cluster_size(), plain.table_bits()),
        (1 << 20, 64 << 10, 29)
    );
    assert_eq!((plain.l1_at(1 << 30), plain.l2_at(3 << 16)), ((64 << 10) + 16, 24));
    let version_2 = Header::parse(&with(4, &2_u32.to_be_bytes())[..72], "FILE").unwrap();
    assert_eq!(version_2.version, 2);
    let extended = Header::parse(&with(72, &16_u64.to_be_bytes()), "FILE").unwrap();
    assert_eq!((extended.table_bits(), extended.l2_at(3 << 16)), (28, 48));
    let mut zstd = with(72, &8_u64.to_be_bytes());
    zstd[100..104].copy_from_slice(&112_u32.to_be_bytes());
    zstd[104] = 1;
    assert_eq!(Header::parse(&zstd, "FILE").unwrap().compression, Compression::Zstd);
}

#[test]
fn what_calf_does_not_read_is_refused_by_name_with_the_way_out() {
    let backing = [&0x200_u64.to_be_bytes()[..], &11_u32.to_be_bytes()].concat();
    let mut named = with(8, &backing);
    named[0x200..0x20B].copy_from_slice(b"/etc/passwd");
    let mut outside = with(72, &4_u64.to_be_bytes());
    outside[104..112].copy_from_slice(b"\x12\x34\x56\x78\0\0\0\x03");
    outside[120..128].copy_from_slice(b"DATA\0\0\0\x0B");
    outside[128..139].copy_from_slice(b"/etc/shadow");
    for (head, words, remedy) in [
        (named, "its backing file \"/etc/passwd\"", "qemu-img convert -O qcow2"),
        (with(8, &backing), "its backing file \"\\0", "qemu-img convert -O qcow2"),
        (with(8, &[0xFF; 12]), "its backing file, and", "qemu-img convert -O qcow2"),
        (outside, "another file \"/etc/shadow\"", "qemu-img convert -O qcow2"),
        (with(72, &4_u64.to_be_bytes()), "another file, and", "qemu-img convert -O qcow2"),
        (with(32, &1_u32.to_be_bytes()), "encrypted with AES", "encrypt.key-secret"),
        (with(32, &2_u32.to_be_bytes()), "encrypted with LUKS", "encrypt.key-secret"),
        (with(32, &3_u32.to_be_bytes()), "encrypted in an unknown way", "encrypt.key-secret"),
        (with(72, &1_u64.to_be_bytes()), "marked as in use", "qemu-img check -r all"),
        (with(72, &2_u64.to_be_bytes()), "marked as corrupt", "qemu-img check -r all"),
        (with(72, &32_u64.to_be_bytes()), "does not know (bit 5)", "qemu-img convert -O raw"),
        (with(72, &8_u64.to_be_bytes()), "compressed in a way", "qemu-img convert -O raw"),
        (with(4, &4_u32.to_be_bytes()), "version 4", "qemu-img convert -O raw"),
        (with(4, &1_u32.to_be_bytes()), "qcow image of version 1", "qemu-img convert -O raw"),
    ] {
        let error = refusal(&head);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let report = error.report();
        assert!(report.contains(words) && report.contains(remedy), "{words}: {report}");
        assert!(!report.contains('\0'), "{report:?}");
    }
}

#[test]
fn sizes_and_places_that_no_image_has_are_refused() {
    for (at, value, words) in [
        (20, 8_u32, "clusters of 2^8 bytes"),
        (20, 22, "clusters of 2^22 bytes"),
        (20, u32::MAX, "clusters of 2^"),
        (36, 0, "L1 table is too short"),
        (100, 100, "claims to have 100 bytes"),
        (100, u32::MAX, "claims to have"),
        (44, 512, "does not begin with a cluster"),
        (40, u32::MAX, "does not begin with a cluster"),
        (28, 100, "no whole sectors"),
        (28, 0, "no whole sectors"),
    ] {
        let report = refusal(&with(at, &value.to_be_bytes())).report();
        assert!(report.contains(words), "{words}: {report}");
    }
    for length in [0, 3, 4, 8, 71, 72, 103] {
        let report = refusal(&header(1 << 20)[..length]).report();
        assert!(report.contains("cut short"), "{length}: {report}");
    }
    // Clusters of 512 bytes, and a disk for which they need a table of 4 GiB.
    let mut small = with(20, &9_u32.to_be_bytes());
    small[24..32].copy_from_slice(&(14_u64 << 40).to_be_bytes());
    small[36..40].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(refusal(&small).report().contains("larger than QEMU allows"));
    small[24..32].copy_from_slice(&u64::MAX.to_be_bytes());
    assert_eq!(refusal(&small).kind(), ErrorKind::OutOfRange);
    let mut parts = with(72, &16_u64.to_be_bytes());
    parts[20..24].copy_from_slice(&13_u32.to_be_bytes());
    assert!(refusal(&parts).report().contains("too small to have parts"));
}
