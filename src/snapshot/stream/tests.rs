//! Tests of the stream.

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::fault::Fault;
use super::format::MAX_RUNS;
use super::*;
use crate::error::ErrorKind;
use crate::model::digest::Digest;
use crate::model::identity::SnapshotIdentity;
use crate::model::snapshot::Consistency;

const CHUNK: usize = 4096;

fn identity(digits: &str) -> SnapshotIdentity {
    SnapshotIdentity::try_from(digits.repeat(32)).expect("an identity")
}

/// The head of a stream for a volume of 256 chunks, that tells so many of them.
fn head(told: u64) -> Head {
    Head {
        snapshot: "s".into(),
        identity: identity("1b"),
        volume: "v".into(),
        template: "base".into(),
        digest: Digest::parse(&"0a".repeat(32)).expect("a digest"),
        template_size: 1 << 20,
        size: 1 << 20,
        chunk_size: CHUNK as u64,
        chunks: told,
        consistency: Consistency::Crash,
        created: jiff::Timestamp::UNIX_EPOCH,
        base: None,
        told,
    }
}

/// The same, upon a base.
fn later(told: u64) -> Head {
    let base = Some(Base { snapshot: "r".into(), identity: identity("2c") });
    Head { base, chunks: 256, ..head(told) }
}

/// A chunk: its number, what it holds, and the byte that is all over it.
type Chunk = (u64, What, u8);

/// A stream that tells of these chunks.
fn stream(head: &Head, chunks: &[Chunk], compress: bool) -> (Vec<u8>, Summary) {
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(&mut bytes, head, compress).expect("memory");
    for (number, what, byte) in chunks {
        match what {
            What::Data => writer.chunk(*number, &[*byte; CHUNK]).expect("memory"),
            what => writer.blank(*number, 1, *what).expect("memory"),
        }
    }
    let summary = writer.end().expect("memory");
    (bytes, summary)
}

/// What a stream tells, chunk by chunk.
fn told(bytes: &[u8]) -> Result<(Vec<Chunk>, Summary), Fault> {
    let mut reader = Reader::begin(bytes)?;
    let mut chunks = Vec::new();
    loop {
        let (runs, content) = match reader.part()? {
            Part::Runs(runs, content) => (runs, content),
            Part::End(summary) => return Ok((chunks, summary)),
        };
        let mut content = content.chunks_exact(CHUNK);
        for run in runs {
            for number in run.first..run.end() {
                let byte = match run.what {
                    What::Data => content.next().expect("content")[0],
                    _ => 0,
                };
                chunks.push((number, run.what, byte));
            }
        }
    }
}

fn refused(bytes: &[u8]) -> crate::error::Error {
    told(bytes).expect_err("a fault").into_error("import", "snapshot s")
}

/// The bytes of a stream by docs/backup.md, put together without the writer.
fn by_the_book(head: &str, sections: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"calfsnap\x01\0\0\0".to_vec();
    let mut section = |kind: &[u8; 4], payload: &[u8]| {
        bytes.extend_from_slice(kind);
        bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(payload);
        let check = Sha256::digest(&bytes);
        bytes.extend_from_slice(&check);
    };
    section(b"HEAD", head.as_bytes());
    for payload in sections {
        section(b"RUNS", payload);
    }
    section(b"END\0", b"");
    bytes
}

const GOLDEN_HEAD: &str = r#"{
  "snapshot": "s",
  "identity": "1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b",
  "volume": "v",
  "template": "base",
  "digest": "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a",
  "templateSize": 1048576,
  "size": 1048576,
  "chunkSize": 4096,
  "chunks": 256,
  "consistency": "crash",
  "created": "1970-01-01T00:00:00Z",
  "base": {
    "snapshot": "r",
    "identity": "2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c"
  },
  "told": 4
}
"#;

fn run(first: u64, count: u32, what: u32) -> Vec<u8> {
    [&first.to_le_bytes()[..], &count.to_le_bytes(), &what.to_le_bytes()].concat()
}

/// The payload of a section with content that is not compressed.
fn payload(runs: &[(u64, u32, u32)], content: &[u8]) -> Vec<u8> {
    let mut bytes = [0u32, runs.len() as u32].map(u32::to_le_bytes).concat();
    bytes.extend(runs.iter().flat_map(|(first, count, what)| run(*first, *count, *what)));
    bytes.extend_from_slice(content);
    bytes
}

#[test]
fn the_bytes_are_those_of_the_documentation() {
    let chunks = [
        (3, What::Data, 7),
        (4, What::Data, 8),
        (5, What::Zeros, 0),
        (9, What::Template, 0),
        (255, What::Data, 9),
    ];
    let (bytes, summary) = stream(&later(4), &chunks, false);
    let content = [[7; CHUNK], [8; CHUNK], [9; CHUNK]].concat();
    let section = payload(&[(3, 2, 2), (5, 1, 1), (9, 1, 0), (255, 1, 2)], &content);
    assert_eq!(bytes, by_the_book(GOLDEN_HEAD, &[&section]));
    assert_eq!(summary.length, bytes.len() as u64);
    assert_eq!(summary.digest, hex::encode(Sha256::digest(&bytes)), "that of the whole stream");
    let golden = "ff5b5821b824205f063f9a39128f447b45f9288fe0679646bf99722022fdb803";
    assert_eq!(summary.digest, golden, "streams that were written before must stay readable");
    assert_eq!(told(&bytes).expect("a stream"), (chunks.to_vec(), summary));
}

#[test]
fn a_large_snapshot_has_several_sections() {
    let mut head = head(600);
    head.size = 600 * CHUNK as u64;
    head.template_size = head.size;
    let chunks: Vec<_> = (0..600).map(|n| (n, What::Data, (n % 250 + 1) as u8)).collect();
    for compress in [false, true] {
        let (bytes, summary) = stream(&head, &chunks, compress);
        let sections = bytes.windows(4).filter(|window| window == b"RUNS").count();
        assert_eq!(sections, 3, "a section has at most 1 MiB");
        assert_eq!(told(&bytes).expect("a stream"), (chunks.clone(), summary));
        let packs = compress && cfg!(feature = "formats");
        assert_eq!(bytes.len() < 600 * CHUNK / 10, packs, "{} bytes", bytes.len());
    }
    // More runs than a section may have, none of them with content.
    head.size = 20_000 * CHUNK as u64;
    (head.chunks, head.told) = (10_000, 10_000);
    let chunks: Vec<_> = (0..10_000).map(|n| (2 * n, What::Zeros, 0)).collect();
    let (bytes, summary) = stream(&head, &chunks, false);
    assert_eq!(told(&bytes).expect("a stream"), (chunks, summary));
}

#[test]
fn a_stream_that_was_cut_or_changed_is_refused_everywhere() {
    let chunks = [(3, What::Data, 7), (5, What::Zeros, 0)];
    let (bytes, _) = stream(&head(2), &chunks, false);
    for length in (0..bytes.len()).filter(|length| length % 97 == 0 || *length > 4500) {
        let error = refused(&bytes[..length]);
        let kind = if length < 12 { ErrorKind::InvalidArgument } else { ErrorKind::Corrupt };
        assert_eq!(error.kind(), kind, "{length}: {error:?}");
        assert!(!error.remedies().is_empty());
    }
    for at in (0..bytes.len()).filter(|at| at % 13 == 0 || *at < 100 || *at > 4500) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        let error = refused(&changed);
        let kind = match at {
            0..8 => ErrorKind::InvalidArgument,
            8..12 => ErrorKind::Unsupported,
            _ => ErrorKind::Corrupt,
        };
        assert_eq!(error.kind(), kind, "{at}: {error:?}");
    }
}

#[test]
fn an_error_of_the_source_is_not_a_damaged_stream() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::PermissionDenied.into())
        }
    }
    let (bytes, _) = stream(&head(1), &[(3, What::Data, 7)], false);
    let error = Reader::begin(std::io::Read::chain(&bytes[..40], Broken)).err().expect("an error");
    assert_eq!(error.into_error("import", "snapshot s").kind(), ErrorKind::Permission);
}

/// Streams whose digests are right, and which make no sense.
#[test]
fn a_hostile_stream_is_refused_for_what_it_says() {
    let text = |head: &Head| String::from_utf8(crate::pool::record::to_bytes(head)).expect("JSON");
    let full = text(&head(4));
    let data = [1; CHUNK];
    let many = vec![(0, 1, 1); MAX_RUNS + 1];
    let long = vec![1; MAX_CONTENT + CHUNK];
    for (name, head, sections, word) in [
        ("twice", &full, vec![payload(&[(3, 1, 1), (3, 1, 1)], &[])], "told twice"),
        ("overlap", &full, vec![payload(&[(3, 2, 1), (4, 1, 1)], &[])], "told twice"),
        (
            "overlap of sections",
            &full,
            vec![payload(&[(3, 2, 1)], &[]), payload(&[(4, 1, 1)], &[])],
            "told twice",
        ),
        ("order", &full, vec![payload(&[(9, 1, 1), (8, 1, 1)], &[])], "out of order"),
        ("behind", &full, vec![payload(&[(256, 1, 1)], &[])], "behind the end"),
        ("across", &full, vec![payload(&[(255, 2, 1)], &[])], "behind the end"),
        ("huge", &full, vec![payload(&[(u64::MAX, u32::MAX, 1)], &[])], "behind the end"),
        ("empty run", &full, vec![payload(&[(3, 0, 1)], &[])], "no chunks"),
        ("no runs", &full, vec![payload(&[], &[])], "not as many runs"),
        ("many runs", &full, vec![payload(&many, &[])], "not as many runs"),
        ("short", &full, vec![vec![0; 3]], "not as many runs"),
        ("kind", &full, vec![payload(&[(3, 1, 3)], &data)], "unknown kind"),
        ("no content", &full, vec![payload(&[(3, 1, 2)], &[])], "not as long as its runs"),
        ("spare content", &full, vec![payload(&[(3, 1, 1)], &data)], "not as long as its runs"),
        ("much content", &full, vec![payload(&[(0, 257, 2)], &[])], "behind the end"),
        ("long section", &full, vec![payload(&[(0, 4, 2)], &long)], "not as long as its runs"),
        ("more", &full, vec![payload(&[(0, 5, 1)], &[])], "more chunks than its head"),
        ("fewer", &full, vec![payload(&[(0, 3, 1)], &[])], "not what its head promises"),
        ("template", &full, vec![payload(&[(0, 1, 0)], &[])], "has no base"),
        (
            "encoding",
            &full,
            vec![[&[9, 0, 0, 0, 1, 0, 0, 0][..], &run(3, 1, 1)].concat()],
            "encoding is unknown",
        ),
        ("no JSON", &"{".to_owned(), vec![], "EOF"),
        ("field", &full.replace("\"told\"", "\"more\": 1, \"told\""), vec![], "unknown field"),
        ("size", &full.replace("\"size\": 1048576", "\"size\": 1048577"), vec![], "size cannot"),
        ("large", &text(&Head { size: 1 << 60, ..head(4) }), vec![], "size cannot"),
        ("small", &text(&Head { size: 4096, ..head(4) }), vec![], "size cannot"),
        ("chunk size", &text(&Head { chunk_size: 512, ..head(4) }), vec![], "chunkSize cannot"),
        ("chunks", &text(&Head { chunks: 1 << 40, ..head(4) }), vec![], "chunks cannot"),
        ("told", &text(&Head { chunks: 5, ..head(4) }), vec![], "told cannot"),
        ("name", &text(&Head { snapshot: "a\nb".into(), ..head(4) }), vec![], "snapshot cannot"),
        ("path", &text(&Head { template: "../x".into(), ..head(4) }), vec![], "template cannot"),
        ("volume", &text(&Head { volume: String::new(), ..head(4) }), vec![], "volume cannot"),
        ("identity", &full.replace("1b1b", "1b1"), vec![], "identity cannot"),
        ("digest", &full.replace("0a0a", "0a/a"), vec![], "digest cannot"),
    ] {
        let sections: Vec<&[u8]> = sections.iter().map(Vec::as_slice).collect();
        let error = refused(&by_the_book(head, &sections));
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {error:?}");
        assert!(error.report().contains(word), "{name}: {error:?}");
    }
}

#[cfg(feature = "formats")]
#[test]
fn a_small_section_does_not_unpack_to_a_large_one() {
    let text = String::from_utf8(crate::pool::record::to_bytes(&head(4))).expect("JSON");
    for length in [3 * CHUNK, 5 * CHUNK, 1 << 24] {
        let packed = zstd::bulk::compress(&vec![7; length], 3).expect("memory");
        let start = [&[1, 0, 0, 0, 1, 0, 0, 0][..], &run(0, 4, 2)].concat();
        let error = refused(&by_the_book(&text, &[&[start, packed].concat()]));
        assert!(error.report().contains("does not unpack"), "{length}: {error:?}");
    }
}

#[test]
fn what_follows_the_end_is_left_alone() {
    let (mut bytes, _) = stream(&head(1), &[(3, What::Data, 7)], false);
    bytes.extend_from_slice(b"next");
    let mut rest = &bytes[..];
    let mut reader = Reader::begin(&mut rest).expect("a head");
    while !matches!(reader.part().expect("a part"), Part::End(_)) {}
    assert_eq!(rest, b"next");
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        chunks in proptest::collection::btree_map(0u64..256, (0u8..3, 1u8..4), 0..256),
        compress: bool,
    ) {
        let kinds = [What::Template, What::Zeros, What::Data];
        let chunks: Vec<Chunk> = chunks
            .into_iter()
            .map(|(number, (kind, byte))| {
                let what = kinds[usize::from(kind)];
                (number, what, if what == What::Data { byte } else { 0 })
            })
            .collect();
        let count = chunks.iter().filter(|(_, what, _)| *what != What::Template).count();
        let (bytes, summary) = stream(&later(count as u64), &chunks, compress);
        prop_assert_eq!(told(&bytes).expect("a stream"), (chunks, summary));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, real: bool) {
        let start: &[u8] = if real { b"calfsnap\x01\0\0\0HEAD" } else { b"" };
        prop_assert!(told(&[start, &bytes].concat()).is_err());
    }
}
