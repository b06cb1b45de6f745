//! Streams that were damaged, cut short or made up: nothing of them counts, and nothing is left.

use std::fs;
use std::io::{self, Read};

use calf::{ErrorKind, SnapshotImportSpec};
use calf_test_kit::simulated_pool::spec;

use super::pools::{Pools, delta, full, import, shown};
use super::{kind, written};

fn left(pools: &Pools) -> usize {
    fs::read_dir(pools.there.root().join("snapshots")).map_or(0, Iterator::count)
}

#[test]
fn nothing_is_left_of_a_damaged_stream() {
    let pools = Pools::new();
    pools.volume(&spec("v"));
    pools.snapshot(&written(&[(3, 1), (9, 2)]), "a");
    pools.snapshot(&written(&[(3, 7), (12, 3)]), "b");
    import(&pools.there, "a", &full(&pools.here, "a")).expect("an import");
    let base = shown(&pools.there, "a");
    let stream = delta(&pools.here, "a", "b");
    for length in (12..stream.len()).step_by(211).chain([stream.len() - 1]) {
        let error = import(&pools.there, "b", &stream[..length]).expect_err("cut short");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{length}: {error:?}");
        assert!(error.report().contains("cut short"), "{error:?}");
        assert_eq!(left(&pools), 1, "{length}");
    }
    for at in (12..stream.len()).step_by(173).chain([stream.len() - 1]) {
        let mut changed = stream.clone();
        changed[at] ^= 1;
        let error = import(&pools.there, "b", &changed).expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{at}: {error:?}");
        assert_eq!(left(&pools), 1, "{at}");
    }
    assert_eq!(shown(&pools.there, "a"), base);
    import(&pools.there, "b", &stream).expect("the whole");
    assert_eq!(shown(&pools.there, "b"), shown(&pools.here, "b"));
}

#[test]
fn what_is_no_export_is_refused_at_once() {
    let pools = Pools::new();
    let error = import(&pools.there, "s", b"").expect_err("nothing");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(kind(import(&pools.there, "a\nb", b"")), ErrorKind::InvalidArgument);
    let mut endless = io::repeat(0);
    let spec = SnapshotImportSpec::new("s");
    let error = pools.there.import_snapshot(&spec, &mut endless, &mut |_| ()).expect_err("zeros");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let mut newer = b"calfsnap\x09\0\0\0".chain(io::repeat(0));
    let error = pools.there.import_snapshot(&spec, &mut newer, &mut |_| ()).expect_err("newer");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let mut endless = b"calfsnap\x01\0\0\0HEAD\xff\xff\xff\x7f".chain(io::repeat(7));
    let error = pools.there.import_snapshot(&spec, &mut endless, &mut |_| ()).expect_err("endless");
    assert!(error.report().contains("longer than any can be"), "{error:?}");
    assert_eq!(left(&pools), 0);
}

/// A stream whose digests are right: those of another volume, and what its sender made up.
#[test]
fn a_stream_does_not_pass_for_another() {
    let pools = Pools::new();
    pools.volume(&spec("v"));
    pools.snapshot(&written(&[(3, 1)]), "a");
    let text = |stream: &[u8]| String::from_utf8_lossy(stream).into_owned();
    let honest = full(&pools.here, "a");
    assert!(text(&honest).contains("\"templateSize\": 1048576"));
    for (from, to, word) in [
        (
            "\"templateSize\": 1048576",
            "\"templateSize\":  524288",
            "its template has 1048576 bytes",
        ),
        ("\"chunks\": 1,", "\"chunks\": 0,", "told cannot"),
        ("\"size\": 1048576", "\"size\": 1044992", "size cannot"),
    ] {
        let error = import(&pools.there, "s", &forged(&honest, from, to)).expect_err("a lie");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        assert!(error.report().contains(word), "{error:?}");
        assert_eq!(left(&pools), 0);
    }
    // That the base had more than it has.
    pools.snapshot(&written(&[(5, 1)]), "b");
    import(&pools.there, "a", &honest).expect("an import");
    let stream = forged(&delta(&pools.here, "a", "b"), "\"chunks\": 2,", "\"chunks\": 9,");
    let error = import(&pools.there, "b", &stream).expect_err("a lie");
    assert!(error.report().contains("the stream promises 9"), "{error:?}");
    assert_eq!(left(&pools), 1);
}

/// A stream with another text in its head, of the same length, and the right digests.
fn forged(stream: &[u8], from: &str, to: &str) -> Vec<u8> {
    use sha2::{Digest as _, Sha256};

    assert_eq!(from.len(), to.len());
    let at = stream.windows(from.len()).position(|it| it == from.as_bytes()).expect("the text");
    let mut forged = stream.to_vec();
    forged[at..at + to.len()].copy_from_slice(to.as_bytes());
    let mut section = 12;
    while section < forged.len() {
        let length = forged[section + 4..section + 8].try_into().expect("four bytes");
        let end = section + 8 + u32::from_le_bytes(length) as usize;
        let digest = Sha256::digest(&forged[..end]);
        forged[end..end + 32].copy_from_slice(&digest);
        section = end + 32;
    }
    forged
}
