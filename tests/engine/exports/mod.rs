//! Snapshots on their way from one pool to another, on a simulated machine.

mod faults;
mod hostile;
mod pools;

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use calf::{
    Cancel, ErrorKind, ExportSpec, ImportSpec, SnapshotImportSpec, SnapshotSpec, VolumeSource,
    VolumeSpec,
};
use calf_test_kit::simulated_pool::{TEMPLATE_SIZE, ext4_image, spec};
use pools::{CHUNK, Pools, Written, delta, export, full, import, put, shown, store};
use proptest::prelude::*;

fn kind<T: std::fmt::Debug>(result: calf::Result<T>) -> ErrorKind {
    result.expect_err("an error").kind()
}

fn written(chunks: &[(u64, u8)]) -> Written {
    chunks.iter().map(|(chunk, byte)| (*chunk, (*byte != 0).then_some(*byte))).collect()
}

#[test]
fn a_snapshot_is_the_same_in_the_other_pool() {
    let pools = Pools::new();
    pools.volume(&spec("v"));
    pools.snapshot(&written(&[(9, 1), (3, 2), (4, 3), (200, 0)]), "monday");
    let (stream, exported) = export(&pools.here, &ExportSpec::new("monday")).expect("an export");
    assert_eq!((exported.content, exported.base), (4 * CHUNK, None));
    // Three chunks, and next to nothing else.
    assert!(stream.len() < 3 * CHUNK as usize + 1500, "{}", stream.len());
    let imported = import(&pools.there, "restored", &stream).expect("an import");
    assert_eq!((imported.existed, imported.base), (false, None));
    assert_eq!((imported.digest, imported.length), (exported.digest, exported.length));
    let record = &imported.snapshot.record;
    let original = pools.here.snapshot("monday").and_then(|it| it.status()).expect("it").record;
    assert_eq!(record.imported.as_ref().map(|it| &it.identity), Some(&exported.identity));
    assert_eq!(
        (record.size, record.chunks, record.created, &record.fs_type),
        (original.size, original.chunks, original.created, &original.fs_type)
    );
    assert_eq!(shown(&pools.there, "restored"), shown(&pools.here, "monday"));
    // It needs nothing of the other pool, and volumes start from it.
    pools.here.volume("v").and_then(|it| it.delete()).expect("delete");
    pools.here.snapshot("monday").and_then(|it| it.delete()).expect("delete");
    let source = VolumeSource::Snapshot("restored".into());
    let volume = pools.there.create_volume(&VolumeSpec::from_source("w", source)).expect("create");
    volume.activate().expect("activate");
    let copy = fs::read(store(&pools.there, "volumes", "w")).expect("a store");
    let kept = fs::read(store(&pools.there, "snapshots", "restored")).expect("a store");
    assert_eq!(copy[..kept.len()], kept);
}

#[test]
fn increments_are_put_upon_what_they_were_made_upon() {
    let pools = Pools::new();
    pools.volume(&spec("v").size(TEMPLATE_SIZE + 512));
    pools.snapshot(&written(&[(0, 1), (7, 2), (256, 3)]), "a");
    pools.snapshot(&written(&[(7, 4), (8, 5), (0, 0)]), "b");
    pools.here.volume("v").and_then(|it| it.expand(2 * TEMPLATE_SIZE)).expect("expand");
    pools.snapshot(&written(&[(400, 6), (256, 7)]), "c");
    let names = ["a", "b", "c"];
    let streams =
        [full(&pools.here, "a"), delta(&pools.here, "a", "b"), delta(&pools.here, "b", "c")];
    assert!(streams[1].len() < 2 * CHUNK as usize + 1500, "{}", streams[1].len());
    // Not in another order.
    let error = import(&pools.there, "b", &streams[1]).expect_err("no base");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.report().contains("snapshot a, with identity"), "{error:?}");
    for (name, stream) in names.iter().zip(&streams) {
        let imported = import(&pools.there, &format!("{name}-there"), stream).expect("an import");
        let base = imported.base.as_deref();
        assert_eq!(
            base,
            [None, Some("a-there"), Some("b-there")][usize::from(name.as_bytes()[0] - b'a')]
        );
    }
    for name in names {
        let there = shown(&pools.there, &format!("{name}-there"));
        assert_eq!(there, shown(&pools.here, name), "{name}");
    }
    // What came from elsewhere goes on from there, and back.
    let back = delta(&pools.there, "a-there", "c-there");
    pools.here.snapshot("c").and_then(|it| it.delete()).expect("delete");
    assert_eq!(import(&pools.here, "c", &back).expect("an import").base.as_deref(), Some("a"));
    assert_eq!(shown(&pools.here, "c"), shown(&pools.there, "c-there"));
}

#[test]
fn an_increment_leads_back_in_time_too() {
    let pools = Pools::new();
    pools.volume(&spec("v"));
    pools.snapshot(&Written::new(), "empty");
    let many: Written = (0..250).map(|chunk| (chunk, Some(1 + chunk as u8 % 200))).collect();
    pools.snapshot(&written(&[(249, 9), (3, 9)]), "few");
    pools.snapshot(&many, "many");
    pools.here.volume("v").and_then(|it| it.expand(4 * TEMPLATE_SIZE)).expect("expand");
    let more: Written = (200..600).map(|chunk| (chunk, Some(7))).collect();
    pools.snapshot(&more, "more");
    let names = ["empty", "few", "many", "more"];
    for base in names {
        import(&pools.there, base, &full(&pools.here, base)).expect("an import");
        for name in names.iter().filter(|name| **name != base) {
            let there = format!("{name} from {base}");
            import(&pools.there, &there, &delta(&pools.here, base, name)).expect("an import");
            assert_eq!(shown(&pools.there, &there), shown(&pools.here, name), "{there}");
            let record =
                pools.there.snapshot(&there).and_then(|it| it.status()).expect("it").record;
            let original = pools.here.snapshot(name).and_then(|it| it.status()).expect("it").record;
            assert_eq!(record.chunks, original.chunks, "{there}");
        }
    }
}

#[test]
fn nothing_behind_the_end_of_the_volume_leaves_the_pool() {
    let pools = Pools::new();
    pools.volume(&spec("v").size(TEMPLATE_SIZE + 512));
    pools.snapshot(&written(&[(256, 0xee)]), "s");
    let stream = full(&pools.here, "s");
    let count = stream.iter().filter(|byte| **byte == 0xee).count();
    assert!((512..700).contains(&count), "{count}");
    import(&pools.there, "s", &stream).expect("an import");
    assert_eq!(shown(&pools.there, "s"), shown(&pools.here, "s"));
}

/// What a snapshot's store has beside the chunks that it lists, such as of a write that was not acknowledged.
#[test]
fn only_what_a_device_shows_is_in_an_export() {
    let pools = Pools::new();
    pools.volume(&spec("v"));
    let path = store(&pools.here, "volumes", "v");
    put(&path, &written(&[(3, 1)]));
    let file = File::options().write(true).open(&path).expect("the store");
    file.write_all_at(&[0xee; CHUNK as usize], 3 * CHUNK).expect("write");
    pools.snapshot(&Written::new(), "s");
    let kept = fs::read(store(&pools.here, "snapshots", "s")).expect("a store");
    assert!(kept.windows(64).any(|window| window == [0xee; 64]), "the test has its object");
    let stream = full(&pools.here, "s");
    assert!(!stream.windows(16).any(|window| window == [0xee; 16]));
}

#[test]
fn a_repeated_import_finds_the_snapshot_and_another_does_not() {
    let pools = Pools::new();
    pools.volume(&spec("v"));
    pools.snapshot(&written(&[(3, 1)]), "a");
    pools.snapshot(&written(&[(3, 2)]), "b");
    let stream = full(&pools.here, "a");
    import(&pools.there, "s", &stream).expect("an import");
    let before = shown(&pools.there, "s");
    let again = import(&pools.there, "s", &stream).expect("the same");
    assert!(again.existed);
    // It is read all the same, so that the sender is told of damage.
    assert_eq!(kind(import(&pools.there, "s", &stream[..stream.len() - 1])), ErrorKind::Corrupt);
    let error = import(&pools.there, "s", &full(&pools.here, "b")).expect_err("another");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(shown(&pools.there, "s"), before);
    // Nor is an imported snapshot taken for one that is to be made of a volume of the same id.
    pools.there.create_volume(&spec("v")).expect("create");
    let taken = pools.there.volume("v").and_then(|it| it.take_snapshot(&SnapshotSpec::new("s")));
    assert_eq!(kind(taken), ErrorKind::AlreadyExists);
    let error = pools.there.volume("v").and_then(|it| it.rollback("s")).expect_err("not its own");
    assert!(error.report().contains("was imported"), "{error:?}");
    // A volume that started from it does return to it.
    let source = VolumeSource::Snapshot("s".into());
    let volume = pools.there.create_volume(&VolumeSpec::from_source("w", source)).expect("create");
    volume.rollback("s").expect("its own");
}

#[test]
fn a_base_is_known_by_what_it_is() {
    let pools = Pools::new();
    pools.volume(&spec("v"));
    for (name, byte) in [("a", 1), ("b", 2), ("c", 3)] {
        pools.snapshot(&written(&[(3, byte)]), name);
    }
    let stream = delta(&pools.here, "b", "c");
    // Another snapshot has its name.
    import(&pools.there, "b", &full(&pools.here, "a")).expect("an import");
    assert_eq!(kind(import(&pools.there, "c", &stream)), ErrorKind::NotFound);
    let upon = |base: &str, stream: &[u8]| {
        let spec = SnapshotImportSpec::new("c").base(base.to_owned());
        pools.there.import_snapshot(&spec, &mut &stream[..], &mut |_| ())
    };
    assert_eq!(kind(upon("b", &stream)), ErrorKind::InvalidArgument);
    assert_eq!(kind(upon("none", &stream)), ErrorKind::NotFound);
    assert_eq!(kind(upon("b", &full(&pools.here, "c"))), ErrorKind::InvalidArgument);
    import(&pools.there, "other", &full(&pools.here, "b")).expect("an import");
    assert_eq!(upon("other", &stream).expect("its base").base.as_deref(), Some("other"));
    assert_eq!(shown(&pools.there, "c"), shown(&pools.here, "c"));
}

#[test]
fn a_pool_without_the_template_says_which_it_needs() {
    let pools = Pools::new();
    pools.volume(&spec("v"));
    pools.snapshot(&written(&[(3, 1)]), "s");
    let stream = full(&pools.here, "s");
    let options = pools.environment.options();
    let bare = options.open(pools.environment.directory.path().join("bare")).expect("a pool");
    let error = import(&bare, "s", &stream).expect_err("no template");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let digest =
        pools.here.template("debian").and_then(|it| it.status()).expect("it").record.digest;
    let report = error.report();
    assert!(report.contains(&format!("--name debian --sha256 {digest}")), "{report}");
    assert_eq!(bare.snapshots().expect("a list").len(), 0);

    // Its name does not matter, and a name with other content neither.
    let image = |name: &str, seed| {
        let source = pools.environment.directory.path().join(format!("bare-{name}.img"));
        fs::write(&source, ext4_image(seed)).expect("an image");
        bare.import_template(&ImportSpec::new(source, name), &mut |_| ()).expect("an import");
    };
    image("debian", 1);
    assert_eq!(kind(import(&bare, "s", &stream)), ErrorKind::NotFound);
    image("other", 0xca);
    let record = import(&bare, "s", &stream).expect("an import").snapshot.record;
    assert_eq!((record.template.as_str(), record.fs_type.as_deref()), ("other", Some("ext4")));
    // It keeps the content.
    let removed = bare.template("other").and_then(|it| it.remove());
    assert_eq!(kind(removed), ErrorKind::InUse);
}

#[test]
fn a_pool_without_room_takes_nothing() {
    let pools = Pools::new();
    pools.volume(&spec("v").size(64 << 20));
    let many: Written = (0..2000).map(|chunk| (chunk, Some(1 + (chunk % 200) as u8))).collect();
    pools.snapshot(&many, "s");
    let stream = full(&pools.here, "s");
    // The reserve of 256 MiB, and less than what is to come.
    pools.host().set_free((256 << 20) + (1 << 20));
    assert_eq!(kind(import(&pools.there, "s", &stream)), ErrorKind::NoSpace);
    assert_eq!(pools.there.snapshots().expect("a list").len(), 0);
    assert_eq!(fs::read_dir(pools.there.root().join("snapshots")).map_or(0, Iterator::count), 0);
    pools.host().set_free(1 << 40);
    import(&pools.there, "s", &stream).expect("room");
}

#[test]
fn the_caller_may_end_it() {
    let pools = Pools::new();
    pools.volume(&spec("v"));
    pools.snapshot(&written(&[(3, 1)]), "s");
    let stream = full(&pools.here, "s");
    let now = || Cancel::when(|| true);
    let exported = export(&pools.here, &ExportSpec::new("s").cancel(now()));
    assert_eq!(kind(exported), ErrorKind::Cancelled);
    let spec = SnapshotImportSpec::new("s").cancel(now());
    let imported = pools.there.import_snapshot(&spec, &mut &stream[..], &mut |_| ());
    assert_eq!(kind(imported), ErrorKind::Cancelled);
    assert_eq!(fs::read_dir(pools.there.root().join("snapshots")).map_or(0, Iterator::count), 0);
}

#[test]
fn progress_ends_with_all_of_it() {
    let pools = Pools::new();
    pools.volume(&spec("v").size(16 << 20));
    let many: Written = (0..1000).map(|chunk| (chunk, Some(1 + (chunk % 200) as u8))).collect();
    pools.snapshot(&many, "s");
    let (mut stream, mut told) = (Vec::new(), Vec::new());
    let mut note = |it: calf::Progress| told.push((it.done, it.total));
    pools.here.export_snapshot(&ExportSpec::new("s"), &mut stream, &mut note).expect("an export");
    let spec = SnapshotImportSpec::new("s");
    pools.there.import_snapshot(&spec, &mut &stream[..], &mut note).expect("an import");
    let all = (1000 * CHUNK, Some(1000 * CHUNK));
    assert_eq!(told.iter().filter(|it| **it == all).count(), 2);
    assert!(told.len() >= 6, "{told:?}");
}

#[cfg(feature = "formats")]
#[test]
fn a_compressed_export_is_smaller_and_the_same() {
    let pools = Pools::new();
    pools.volume(&spec("v"));
    let many: Written = (0..200).map(|chunk| (chunk, Some(1 + chunk as u8))).collect();
    pools.snapshot(&many, "s");
    let (stream, exported) =
        export(&pools.here, &ExportSpec::new("s").compress(true)).expect("an export");
    assert!(stream.len() < 20_000 && exported.content == 200 * CHUNK, "{exported:?}");
    import(&pools.there, "s", &stream).expect("an import");
    assert_eq!(shown(&pools.there, "s"), shown(&pools.here, "s"));
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let pools = Pools::new();
    pools.volume(&spec("v"));
    pools.snapshot(&written(&[(3, 1)]), "s");
    pools.here.create_volume(&spec("coarse").chunk_size(16 << 10)).expect("create");
    let coarse =
        pools.here.volume("coarse").and_then(|it| it.take_snapshot(&SnapshotSpec::new("coarse")));
    coarse.expect("a snapshot");
    let upon =
        |name: &str, base: &str| export(&pools.here, &ExportSpec::new(name).base(base.to_owned()));
    assert_eq!(kind(upon("s", "coarse")), ErrorKind::InvalidArgument);
    assert_eq!(kind(upon("s", "none")), ErrorKind::NotFound);
    assert_eq!(kind(export(&pools.here, &ExportSpec::new("none"))), ErrorKind::NotFound);
    assert_eq!(kind(export(&pools.here, &ExportSpec::new("a\nb"))), ErrorKind::InvalidArgument);

    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let exported = pools.here.export_snapshot(&ExportSpec::new("s"), &mut Full, &mut |_| ());
    assert_eq!(kind(exported), ErrorKind::NoSpace);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_chain_of_increments_ends_where_the_volume_does(
        rounds in proptest::collection::vec(
            proptest::collection::btree_map(0u64..600, proptest::option::of(1u8..250), 0..300),
            1..4,
        ),
    ) {
        let pools = Pools::new();
        pools.volume(&spec("v").size(600 * CHUNK));
        for (n, round) in rounds.iter().enumerate() {
            let name = format!("s{n}");
            pools.snapshot(round, &name);
            let stream = match n {
                0 => full(&pools.here, &name),
                _ => delta(&pools.here, &format!("s{}", n - 1), &name),
            };
            import(&pools.there, &name, &stream).expect("an import");
            prop_assert!(shown(&pools.there, &name) == shown(&pools.here, &name), "{}", name);
        }
    }
}
