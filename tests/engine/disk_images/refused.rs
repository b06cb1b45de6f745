//! Images that calf does not read, and those that are made to harm.

use std::fs;

use calf_test_kit::simulated_pool::Environment;

use super::*;

/// Writes to the header of an image.
fn patch(image: &Path, at: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(image).expect("an image");
    file.write_all_at(bytes, at).expect("written");
}

fn u64_at(image: &Path, at: u64) -> u64 {
    let mut bytes = [0; 8];
    File::open(image).and_then(|file| file.read_exact_at(&mut bytes, at)).expect("a number");
    u64::from_be_bytes(bytes)
}

#[test]
fn no_file_that_an_image_names_is_read() {
    let environment = Environment::new();
    let path = environment.directory.path().join("disk.qcow2");
    // A backing file, as an attacker names it: with its format, and in the old form without.
    for options in [&["-F", "raw"][..], &["-o", "compat=0.10", "-F", "raw"]] {
        let form = ["create", "-q", "-u", "-f", "qcow2", "-b", "/etc/passwd"];
        run("qemu-img", &[&form, options, &[text(&path), "1M"]].concat());
        let words =
            ["its backing file \"/etc/passwd\"", "reads no file", "qemu-img convert -O qcow2"];
        refuses(&path, &environment, &words);
    }
    // A data file.
    let secret = environment.directory.path().join("secret");
    let option = format!("data_file={},data_file_raw=on", text(&secret));
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", &option, text(&path), "1M"]);
    fs::write(&secret, vec![b's'; MIB as usize]).expect("a secret");
    refuses(&path, &environment, &[text(&secret), "in another file", "reads no file"]);
    // Without the mark, its name means nothing: the data is looked for in the image, which has none.
    patch(&path, 72, &0_u64.to_be_bytes());
    patch(&path, 88, &0_u64.to_be_bytes());
    let pool = environment.pool();
    match import(&pool, &path, None) {
        Ok(record) => {
            let made = fs::read(content(&pool, &record)).expect("content");
            assert!(made.iter().all(|byte| *byte == 0), "nothing of the secret");
        }
        Err(error) => assert!(error.report().contains("qcow2"), "{}", error.report()),
    }
    // Both at once, and a name that is not text.
    run(
        "qemu-img",
        &[
            "create",
            "-q",
            "-u",
            "-f",
            "qcow2",
            "-b",
            "/etc/p\u{1b}[2Jd",
            "-F",
            "raw",
            text(&path),
            "1M",
        ],
    );
    let report = refused(&path, &environment).report();
    assert!(!report.contains('\u{1b}') && report.contains("\\u{1b}"), "{report}");
}

#[test]
fn features_that_calf_does_not_read_are_named() {
    let environment = Environment::new();
    let path = environment.directory.path().join("disk.qcow2");
    let create = ["create", "-q", "-f", "qcow2", "--object", "secret,id=key,data=abc123"];
    let option = "encrypt.format=aes,encrypt.key-secret=key";
    run("qemu-img", &[&create[..], &["-o", option, text(&path), "1M"]].concat());
    refuses(&path, &environment, &["encrypted with AES", "encrypt.key-secret"]);
    for (at, bytes, words) in [
        (72, 1_u64.to_be_bytes(), ["in use", "qemu-img check -r all"]),
        (72, 2_u64.to_be_bytes(), ["marked as corrupt", "qemu-img check -r all"]),
        (72, (1_u64 << 40).to_be_bytes(), ["does not know (bit 40)", "qemu-img convert"]),
        (32, (2_u64 << 32 | 1).to_be_bytes(), ["encrypted with LUKS", "encrypt.key-secret"]),
        (72, 8_u64.to_be_bytes(), ["compressed in a way", "qemu-img convert"]),
        (4, [0, 0, 0, 4, 0, 0, 0, 0], ["version 4", "qemu-img convert"]),
        (4, [0, 0, 0, 1, 0, 0, 0, 0], ["version 1", "qemu-img convert"]),
    ] {
        let image = image(&environment, &[]);
        patch(&image, at, &bytes);
        refuses(&image, &environment, &words);
    }
}

#[test]
fn other_formats_stay_refused_by_name() {
    let environment = Environment::new();
    for (format, name) in
        [("vmdk", "VMDK"), ("vdi", "VDI"), ("vhdx", "VHDX"), ("vpc", "VHD"), ("qed", "QED")]
    {
        let path = environment.directory.path().join(format);
        let form =
            ["convert", "-f", "raw", "-O", format, text(&raw(&environment))].map(str::to_owned);
        let form: Vec<&str> = form.iter().map(String::as_str).collect();
        run("qemu-img", &[&form[..], &[text(&path)]].concat());
        refuses(&path, &environment, &[name, "qemu-img convert -O raw"]);
    }
}

#[test]
fn an_image_that_was_cut_short_is_no_template() {
    for form in
        [&[][..], &["-c"], &["-c", "-o", "compression_type=zstd"], &["-o", "extended_l2=on"]]
    {
        let environment = Environment::new();
        let image = image(&environment, form);
        let whole = fs::read(&image).expect("an image");
        for length in [whole.len() / 2, whole.len() / 4, 70_000, 4096, 104, 72, 60, 8] {
            fs::write(&image, &whole[..length]).expect("an image");
            refuses(&image, &environment, &["qcow2", "cut short"]);
        }
    }
}

#[test]
fn damaged_tables_and_clusters_are_told_apart_from_data() {
    let environment = Environment::new();
    let image = image(&environment, &[]);
    let l1 = u64_at(&image, 40);
    let l2 = u64_at(&image, l1) & 0x00FF_FFFF_FFFF_FE00;
    for (at, value, words) in [
        (l1, l2 + 512, "an L2 table that does not begin with a cluster"),
        (l2, 0x1200, "data that does not begin with a cluster"),
        (l2, 1 << 62 | l2, "cannot be unpacked"),
        (l1, 1 << 50, "cut short"),
        (l2, 1 << 50, "cut short"),
        (40, 0x1200, "L1 table does not begin"),
        (40, 0, "L1 table does not begin"),
        (36, 0, "L1 table is too short"),
        (24, 14 << 40, "L1 table is too short"),
        (24, 513, "no whole sectors"),
        (24, 0, "no whole sectors"),
        (16, 8, "clusters of 2^8 bytes"),
        (16, 22, "clusters of 2^22 bytes"),
        (96, 90, "claims to have 90 bytes"),
    ] {
        let before = u64_at(&image, at);
        patch(&image, at, &u64::to_be_bytes(value));
        refuses(&image, &environment, &[words]);
        patch(&image, at, &before.to_be_bytes());
    }
    patch(&image, 24, &(16_u64 << 40).to_be_bytes());
    let error = refused(&image, &environment);
    assert_eq!(error.kind(), ErrorKind::OutOfRange, "{}", error.report());
}

#[test]
fn clusters_that_are_named_again_and_again_are_a_bomb() {
    let environment = Environment::new();
    let path = environment.directory.path().join("disk.qcow2");
    let options = "cluster_size=4k,preallocation=metadata";
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", options, text(&path), "1M"]);
    run("qemu-io", &["-c", "write -P 7 0 4k", "-f", "qcow2", text(&path)]);
    let l1 = u64_at(&path, 40);
    let offset = |entry: u64| entry & 0x00FF_FFFF_FFFF_FE00;
    let l2 = u64_at(&path, l1);
    let data = u64_at(&path, offset(l2));
    // 1 GiB of one cluster, by one L2 table.
    patch(&path, 24, &(1_u64 << 30).to_be_bytes());
    patch(&path, 36, &512_u32.to_be_bytes());
    let same = |entry: u64| entry.to_be_bytes().repeat(512);
    patch(&path, l1, &same(l2));
    patch(&path, offset(l2), &same(data));
    let file = File::options().write(true).open(&path).expect("an image");
    file.set_len(offset(data) + 4096).expect("no more than is named");
    refuses(&path, &environment, &["no disk image is like that"]);
}
