use std::fs;

use super::*;
use crate::pool::sample::volume;
use crate::sys::LinuxHost;

/// Makes a record invalid.
type Edit<T> = fn(&mut T);

fn template() -> TemplateRecord {
    TemplateRecord {
        name: "base".into(),
        digest: Digest::parse(&"0a".repeat(32)).expect("a digest"),
        size: 1 << 20,
        fs_type: None,
        fs_block_size: None,
        created: Timestamp::UNIX_EPOCH,
        source: "/image".into(),
        warm: 0,
    }
}

#[test]
fn a_record_with_an_impossible_value_is_refused_by_field() {
    let edits: [(&str, Edit<VolumeRecord>); 11] = [
        ("id", |v| v.id.clear()),
        ("id", |v| v.id = "a\nb".into()),
        ("templateSize", |v| v.template_size = 0),
        ("size", |v| v.size = 512),
        ("size", |v| v.size = u64::MAX),
        ("size", |v| v.size += 1),
        ("chunkSize", |v| v.chunk_size = 0),
        ("chunkSize", |v| v.chunk_size = 4097),
        ("owner.mode", |v| v.owner.mode = 0o4777),
        ("owner.uid", |v| v.owner.uid = u32::MAX),
        ("owner.gid", |v| v.owner.gid = u32::MAX),
    ];
    parse::<VolumeRecord>(&to_bytes(&volume())).expect("the sample is valid");
    for (field, edit) in edits {
        let mut record = volume();
        edit(&mut record);
        let why = parse::<VolumeRecord>(&to_bytes(&record)).expect_err(field);
        assert!(why.starts_with(field), "{field}: {why}");
    }
    let edits: [(&str, Edit<TemplateRecord>); 4] = [
        ("name", |t| t.name = "../x".into()),
        ("size", |t| t.size = 0),
        ("size", |t| t.size = 513),
        ("warm", |t| t.warm = 1000),
    ];
    parse::<TemplateRecord>(&to_bytes(&template())).expect("the sample is valid");
    for (field, edit) in edits {
        let mut record = template();
        edit(&mut record);
        let why = parse::<TemplateRecord>(&to_bytes(&record)).expect_err(field);
        assert!(why.starts_with(field), "{field}: {why}");
    }
}

#[test]
fn a_digest_that_is_another_path_is_refused() {
    let digits = volume().digest.to_string();
    for wrong in ["..", "../../../etc", &digits.to_uppercase(), &digits[1..]] {
        let edited = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).expect("JSON").replace(&digits, wrong);
            text.into_bytes()
        };
        let why = parse::<VolumeRecord>(&edited(to_bytes(&volume()))).expect_err(wrong);
        assert!(why.starts_with("digest cannot be"), "{why}");
        let why = parse::<TemplateRecord>(&edited(to_bytes(&template()))).expect_err(wrong);
        assert!(why.starts_with("digest cannot be"), "{why}");
    }
}

#[test]
fn only_a_small_regular_file_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("good"), to_bytes(&volume())).unwrap();
    std::os::unix::fs::symlink(at("good"), at("link")).unwrap();
    fs::create_dir(at("directory")).unwrap();
    fs::write(at("large"), vec![b' '; 1 << 20]).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert_eq!(read::<VolumeRecord>(&LinuxHost::new(), &at("good")).unwrap(), Some(volume()));
    assert_eq!(read::<VolumeRecord>(&LinuxHost::new(), &at("missing")).unwrap(), None);
    for name in ["link", "directory", "large", "pipe"] {
        let error = read::<VolumeRecord>(&LinuxHost::new(), &at(name)).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {error:?}");
        assert!(error.report().contains(name), "{error:?}");
    }
}

#[test]
fn a_record_needs_the_format_of_its_fields() {
    let of = |edit: fn(&mut VolumeRecord)| {
        let mut record = volume();
        edit(&mut record);
        (record.format(), String::from_utf8(to_bytes(&record)).unwrap())
    };
    let (format, text) = of(|_| ());
    assert_eq!(format, 1);
    for field in ["reserve", "ttl", "target"] {
        assert!(!text.contains(field), "an older calf must be able to read it: {text}");
    }
    assert_eq!(of(|v| v.reserve = Reserve::Full).0, 2);
    assert_eq!(of(|v| v.ttl = Some(1)).0, 2);
    assert_eq!(of(|v| v.target = Some("/x".into())).0, 2);
}

#[test]
fn a_volume_expires_by_its_ttl_or_never() {
    let mut record = volume();
    assert_eq!(record.expires(), None);
    record.ttl = Some(60);
    assert_eq!(record.expires(), Timestamp::new(60, 0).ok());
    record.ttl = Some(u64::MAX);
    assert_eq!(record.expires(), None, "beyond the largest time stamp");
}

#[test]
fn only_a_record_without_content_is_blank() {
    for (text, blank) in
        [(&b""[..], true), (&[0; 300], true), (b"{}", false), (b"{\"id\": \"a\"\0\0", false)]
    {
        assert_eq!(is_blank(text), blank, "{text:?}");
        let error = understand::<VolumeRecord>(Path::new("volume.json"), text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}
