use super::*;

/// What is said of a file that begins so, and has zeros after that.
fn said_of(parts: &[(usize, &[u8])]) -> String {
    let mut head = vec![0; HEAD];
    for (at, part) in parts {
        head[*at..at + part.len()].copy_from_slice(part);
    }
    match check_head(&head, "FILE") {
        Ok(()) => String::new(),
        Err(error) => error.report(),
    }
}

/// A tar whose members, all of `size` bytes, have these names.
fn tar(names: &[&str], size: usize) -> String {
    let mut archive = Vec::new();
    for name in names {
        let mut header = vec![0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        header[257..262].copy_from_slice(b"ustar");
        archive.extend(header);
        archive.resize(archive.len() + size.next_multiple_of(512).min(HEAD), 7);
    }
    archive.truncate(HEAD);
    said_of(&[(0, &archive)])
}

#[test]
fn what_is_no_raw_image_is_refused_with_the_way_out() {
    for (at, mark, name, remedy) in [
        (0, &b"QFI\xFB"[..], "qcow2", "qemu-img convert -O raw"),
        (0, b"KDMV", "VMDK", "qemu-img convert -O raw"),
        (0, b"# Disk DescriptorFile\n", "VMDK", "qemu-img convert -O raw"),
        (0, b"vhdxfile", "VHDX", "qemu-img convert -O raw"),
        (0, b"conectix", "VHD", "qemu-img convert -O raw"),
        (0x40, b"\x7F\x10\xDA\xBE", "VDI", "qemu-img convert -O raw"),
        (0, b"\x3A\xFF\x26\xED", "Android", "simg2img"),
        (0, b"\x1F\x8B\x08", "gzip", "gzip -dc"),
        (0, b"\x28\xB5\x2F\xFD", "zstd", "zstd -dc"),
        (0, b"\xFD7zXZ\0", "xz", "xz -dc"),
        (0, b"BZh9", "bzip2", "bzip2 -dc"),
        (0, b"\x04\x22\x4D\x18", "lz4", "lz4 -dc"),
        (0, b"PK\x03\x04", "zip", "unzip"),
        (0, b"7z\xBC\xAF\x27\x1C", "7z", "7z x"),
        (0, b"<!DOCTYPE html>\n<html>", "HTML", "login"),
        (0, b"\xEF\xBB\xBF\r\n  <HTML lang=en>", "HTML", "login"),
        (0, b"<?xml version='1.0'?>\n<html xmlns='x'>", "HTML", "login"),
        (0, b"<?xml version='1.0'?>\n<Error><Code>AccessDenied", "XML", "signed URL"),
        (0, b"version https://git-lfs.github.com/spec/v1\n", "Git LFS", "git lfs pull"),
    ] {
        let said = said_of(&[(at, mark)]);
        assert!(said.contains(name) && said.contains(remedy), "{name}: {said}");
        assert!(!said.contains("truncate"), "{name}: {said}");
    }
    assert_eq!(said_of(&[(1080, &[0x53, 0xEF])]), "", "an ext4");
    assert_eq!(said_of(&[(510, &[0x55, 0xAA]), (512, b"EFI PART")]), "", "a disk");
    assert_eq!(said_of(&[(0, b"hsqs")]), "", "a squashfs");
}

#[test]
fn archives_are_told_apart_by_what_is_in_them() {
    let digest = "0123456789abcdef".repeat(4);
    for names in [
        &["blobs/"][..],
        &["oci-layout", "blobs/"],
        &["./index.json"],
        &["blobs/sha256/0123"],
        &[&format!("{digest}/"), &format!("{digest}/VERSION")],
        &[&format!("{digest}.json")],
        &[&format!("{digest}.tar")],
        &["readme", "manifest.json"],
    ] {
        let said = tar(names, 700);
        assert!(said.contains("container image"), "{names:?}: {said}");
        assert!(said.contains("--format oci"), "{names:?}: {said}");
    }
    let said = tar(&["box.ovf", "box-disk1.vmdk"], 700);
    assert!(said.contains("OVA") && said.contains("qemu-img convert"), "{said}");
    let said = tar(&["etc/", "etc/passwd", "usr/"], 700);
    assert!(said.contains("tar archive") && said.contains("--format rootfs"), "{said}");
    // A size beyond all bounds ends the search.
    let said = tar(&["etc/passwd"], 0o77_777_777_777);
    assert!(said.contains("tar archive"), "{said}");
}

#[test]
fn a_footer_is_seen() {
    let mut vhd = [0; TAIL];
    vhd[..8].copy_from_slice(b"conectix");
    vhd[12..16].copy_from_slice(&[0, 1, 0, 0]);
    let said = check_tail(&vhd, "FILE").unwrap_err().report();
    assert!(said.contains("VHD") && said.contains("truncate -s -512"), "{said}");
    let mut dmg = [0; TAIL];
    dmg[..12].copy_from_slice(b"koly\0\0\0\x04\0\0\x02\0");
    let said = check_tail(&dmg, "FILE").unwrap_err().report();
    assert!(said.contains("DMG"), "{said}");
    check_tail(&[0; TAIL], "FILE").unwrap();
    check_tail(b"conectix", "FILE").unwrap();
    check_tail(b"", "FILE").unwrap();
}

#[test]
fn sizes_that_no_image_has_are_refused() {
    let said = |size: u64, head: &[u8]| match check_size(size, head, "FILE") {
        Ok(()) => String::new(),
        Err(error) => error.report(),
    };
    assert!(said(0, b"").contains("empty"));
    assert_eq!(said(512, b"plain text"), "");
    assert!(
        said(513, &[1; 513]).contains("513 bytes") && said(513, &[1; 513]).contains("truncate")
    );
    for text in ["{\"error\": \"not found\"}", "Schlüssel fehlt\n"] {
        let said = said(text.len() as u64 + 512, text.as_bytes());
        assert!(said.contains("a text") && !said.contains("truncate"), "{said}");
    }
}
