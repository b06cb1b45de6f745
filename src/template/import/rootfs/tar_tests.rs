use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;

/// What the program `tar` makes of files in a directory.
fn tar(directory: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("tar").arg("-C").arg(directory).arg("-c").args(arguments).output();
    let output = output.expect("tar");
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

type Found = Vec<(String, Kind, Meta, Vec<u8>)>;

fn entries(archive: &[u8], end: End) -> Result<Found, Stopped> {
    let mut found = Vec::new();
    read(&mut &*archive, end, &mut |entry, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).unwrap();
        found.push((entry.path.to_string(), entry.kind, entry.meta, bytes));
        Ok(())
    })?;
    Ok(found)
}

fn refusal(archive: &[u8]) -> String {
    match entries(archive, End::Marked) {
        Err(Stopped::Refused(why)) => why,
        Err(Stopped::Cut) => "cut".to_owned(),
        other => panic!("{other:?}"),
    }
}

/// An archive of one entry, whose PAX extensions have these records.
fn extended(records: &[(&str, &str)], kind: u8, path: &str, content: &[u8]) -> Vec<u8> {
    let mut data = String::new();
    for (key, value) in records {
        let body = format!(" {key}={value}\n");
        let length = (1..).find(|n| n.to_string().len() + body.len() == *n).unwrap();
        data.push_str(&format!("{length}{body}"));
    }
    let mut archive = Vec::new();
    if !records.is_empty() {
        archive.extend(header(b'x', "extensions", data.len()));
        archive.extend(padded(data.as_bytes()));
    }
    archive.extend(header(kind, path, content.len()));
    archive.extend(padded(content));
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(512), 0);
    padded
}

fn header(kind: u8, path: &str, size: usize) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..path.len()].copy_from_slice(path.as_bytes());
    header[100..108].copy_from_slice(b"0004755\0");
    header[108..116].copy_from_slice(b"0001750\0");
    header[116..124].copy_from_slice(b"0001751\0");
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[136..148].copy_from_slice(b"14000000000\0");
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[test]
fn archives_of_the_program_tar_are_read_in_all_its_formats() {
    let directory = tempfile::tempdir().unwrap();
    let long = "long-name".repeat(20);
    let root = directory.path();
    fs::create_dir_all(root.join(&long).join("below")).unwrap();
    fs::write(root.join(&long).join("below/file"), b"content").unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    fs::hard_link(root.join("empty"), root.join("link")).unwrap();
    std::os::unix::fs::symlink("/../".repeat(60), root.join("symlink")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("fifo"), 0o640.into()).unwrap();
    for format in ["gnu", "oldgnu", "pax"] {
        let format = format!("--format={format}");
        let archive = tar(root, &[&format, "--sort=name", "--mtime=@1000000000.5", "."]);
        let found = entries(&archive, End::Marked).unwrap();
        let kinds: Vec<_> = found.iter().map(|(path, kind, ..)| (path.as_str(), kind)).collect();
        let file = Extent { size: 7, parts: None };
        let long = format!("/{long}");
        let expected: Vec<(String, Kind)> = vec![
            ("/".into(), Kind::Directory),
            ("/empty".into(), Kind::File(Extent::default())),
            ("/fifo".into(), Kind::Special(Special::Fifo)),
            ("/link".into(), Kind::HardLink(FilePath::parse(b"empty").unwrap())),
            (long.clone(), Kind::Directory),
            (format!("{long}/below"), Kind::Directory),
            (format!("{long}/below/file"), Kind::File(file)),
            ("/symlink".into(), Kind::Symlink("/../".repeat(60))),
        ];
        let expected: Vec<_> = expected.iter().map(|(path, kind)| (path.as_str(), kind)).collect();
        assert_eq!(kinds, expected, "{format}");
        assert_eq!(found[6].3, b"content");
        assert_eq!(found[2].2.mode, 0o640);
        let fraction = if format.ends_with("pax") { 500_000_000 } else { 0 };
        assert_eq!(found[2].2.modified, (1_000_000_000, fraction), "{format}");
    }
}

#[test]
fn sparse_files_are_read_in_all_formats() {
    use std::os::unix::fs::FileExt as _;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sparse");
    let file = fs::File::create(&path).unwrap();
    file.set_len(1 << 20).unwrap();
    for part in 1..20 {
        file.write_all_at(&[part; 512], u64::from(part) * 40_000 / 4096 * 4096).unwrap();
    }
    let whole = fs::read(&path).unwrap();
    for format in [
        &["--format=gnu"][..],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ] {
        let archive = tar(directory.path(), &[&["-S"], format, &["sparse"]].concat());
        let found = entries(&archive, End::Marked).unwrap();
        let [(name, Kind::File(extent), _, given)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((name.as_str(), extent.size), ("/sparse", 1 << 20), "{format:?}");
        let mut copy = vec![0; 1 << 20];
        let mut given = &given[..];
        for (offset, length) in extent.parts.as_ref().unwrap() {
            let (part, rest) = given.split_at(*length as usize);
            copy[*offset as usize..][..part.len()].copy_from_slice(part);
            given = rest;
        }
        assert!(copy == whole && given.is_empty(), "{format:?}");
        assert!(archive.len() < 200 << 10, "{format:?}");
    }
}

#[test]
fn what_extensions_say_is_taken() {
    let long = "x".repeat(255);
    let records =
        [("path", long.as_str()), ("mtime", "-1.25"), ("uid", "4000000000"), ("size", "3")];
    let mut archive = extended(&records, b'0', "short", b"abc");
    let found = entries(&archive, End::Marked).unwrap();
    assert_eq!(found[0].0, format!("/{long}"));
    let Meta { mode, uid, gid, modified, .. } = found[0].2;
    assert_eq!((mode, uid, gid), (0o4755, 4_000_000_000, 0o1751));
    assert_eq!(modified, (-2, 750_000_000));
    let capability = "\u{1}\0\0\u{2}\0\u{20}\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    archive = extended(&[("SCHILY.xattr.security.capability", capability)], b'0', "ping", b"");
    let attributes = &entries(&archive, End::Marked).unwrap()[0].2.attributes;
    assert_eq!(attributes[..], [("security.capability".into(), capability.as_bytes().to_vec())]);
}

#[test]
fn directories_and_links_have_no_content_whatever_their_size() {
    let mut archive = header(b'5', "a/", 700);
    archive.extend(header(b'1', "b", 700));
    archive.extend(header(b'0', "c/", 0));
    archive.resize(archive.len() + 1024, 0);
    archive[512 + 157..512 + 158].copy_from_slice(b"c");
    let sum: u32 = archive[512..1024]
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    archive[512 + 148..512 + 155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let found = entries(&archive, End::Marked).unwrap();
    let kinds: Vec<_> = found.into_iter().map(|(_, kind, ..)| kind).collect();
    let link = Kind::HardLink(FilePath::parse(b"c").unwrap());
    assert_eq!(kinds, [Kind::Directory, link, Kind::Directory]);
}

#[test]
fn what_cannot_be_right_is_refused() {
    let said = |records: &[(&str, &str)], kind, path| refusal(&extended(records, kind, path, b"1"));
    assert!(said(&[], b'0', "a/../b").contains("upwards"));
    assert!(said(&[("size", "x")], b'0', "a").contains("size"));
    assert!(said(&[("size", "-1")], b'0', "a").contains("size"));
    assert!(said(&[("uid", "4294967296")], b'0', "a").contains("id 4294967296"));
    assert!(said(&[("mtime", "soon")], b'0', "a").contains("no time"));
    assert!(said(&[("linkpath", "")], b'2', "a").contains("symlink to nothing"));
    assert!(said(&[("path", &"a/".repeat(3000))], b'0', "a").contains("4,096 bytes"));
    assert!(said(&[("comment", &"a".repeat(2 << 20))], b'0', "a").contains("1 MiB"));
    assert!(said(&[("SCHILY.xattr.system.posix_acl_access", "x")], b'0', "a").contains("access"));
    assert!(said(&[], b'V', "a").contains("type V"));
    assert!(said(&[], b'M', "a").contains("type M"));
    let huge = [
        ("GNU.sparse.major", "0"),
        ("GNU.sparse.minor", "1"),
        ("GNU.sparse.size", "99999999999999999"),
    ];
    let map = [&huge[..], &[("GNU.sparse.map", "0,1")]].concat();
    assert!(said(&map, b'0', "a").contains("largest volume"));
    let map = [&huge[..], &[("GNU.sparse.map", "5,1,4,0")]].concat();
    assert!(said(&map, b'0', "a").contains("holes"));
    let global = [header(b'g', "g", 17), padded(b"17 path=/etc/abc\n")].concat();
    assert!(refusal(&global).contains("(path)"));
    let git = [header(b'g', "g", 17), padded(b"17 comment=abcde\n"), vec![0; 1024]].concat();
    assert!(entries(&git, End::Marked).unwrap().is_empty());
    assert!(refusal(&[1; 2048]).contains("damaged"));
}

#[test]
fn an_archive_that_was_cut_short_or_is_followed_by_another_is_refused() {
    let archive = extended(&[("mtime", "1.5")], b'0', "a", &[7; 3000]);
    for length in 0..archive.len() - 512 {
        if length % 100 == 0 || length % 512 == 0 {
            assert_eq!(refusal(&archive[..length]), "cut", "{length}");
        }
    }
    assert!(entries(&archive[..archive.len() - 512], End::Marked).is_ok(), "half an end");
    // Whose digest is known is whole. Its last entry must be, too, but for what fills its block.
    let content_end = archive.len() - 1024 - (3072 - 3000);
    for length in [archive.len() - 1024, archive.len() - 1025, content_end] {
        assert_eq!(entries(&archive[..length], End::Any).unwrap().len(), 1);
        assert!(matches!(entries(&archive[..length], End::Marked), Err(Stopped::Cut)));
    }
    assert!(matches!(entries(&archive[..content_end - 1], End::Any), Err(Stopped::Cut)));
    let mut more = archive.clone();
    more.resize(archive.len() + 9000, 0);
    assert_eq!(entries(&more, End::Marked).unwrap().len(), 1);
    more.extend(&archive);
    assert!(refusal(&more).contains("another archive"));
    assert_eq!(entries(&more, End::Any).unwrap().len(), 1);
}

#[test]
fn an_archive_that_ends_after_a_block_of_zeros_is_refused() {
    let zeros = vec![0; 512];
    for kind in [b'x', b'g', b'L'] {
        let cut = [&zeros[..], &header(kind, "a", 4096)].concat();
        assert!(matches!(entries(&cut, End::Any), Err(Stopped::Cut)), "{}", kind as char);
    }
    // A block of zeros before a header that is whole is skipped.
    let whole = [&zeros[..], &extended(&[("mtime", "1")], b'0', "a", b"1")].concat();
    entries(&whole, End::Any).unwrap();
}
