//! Which ranges of snapshots hold something and which differ, on a simulated machine, whose files share no blocks.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use calf::{BlockRange, Blocks, ErrorKind, Key, Pool, SnapshotSpec, VolumeSpec};
use calf_test_kit::simulated_pool::{
    Environment, FAILURES, TEMPLATE_SIZE, put_store, spec, unless_crashed,
};

const CHUNK: u64 = 4096;

fn cow(environment: &Environment, directory: &str, name: &str) -> PathBuf {
    environment
        .directory
        .path()
        .join("pool")
        .join(directory)
        .join(Key::of(name).as_str())
        .join("cow")
}

/// Fills the first chunks of volume `v` with these bytes, and makes a snapshot.
fn write(environment: &Environment, pool: &Pool, bytes: &[u8], name: &str) {
    put_store(&cow(environment, "volumes", "v"), bytes);
    take(pool, "v", name);
}

fn take(pool: &Pool, volume: &str, name: &str) {
    let taken = pool.volume(volume).and_then(|it| it.take_snapshot(&SnapshotSpec::new(name)));
    taken.expect("a snapshot");
}

fn active(pool: &Pool, spec: &VolumeSpec) {
    pool.create_volume(spec).and_then(|volume| volume.activate()).expect("an active volume");
}

fn changed(pool: &Pool, base: &str, name: &str) -> calf::Result<Blocks> {
    pool.snapshot(name)?.changed_since(&pool.snapshot(base)?)
}

/// The ranges, in chunks.
fn chunks(blocks: &Blocks) -> Vec<(u64, u64)> {
    blocks.ranges().iter().map(|it| (it.offset / CHUNK, it.length / CHUNK)).collect()
}

fn kind<T: std::fmt::Debug>(result: calf::Result<T>) -> ErrorKind {
    result.expect_err("an error").kind()
}

#[test]
fn what_was_written_between_two_snapshots_differs_in_both_directions() {
    let environment = Environment::new();
    let pool = environment.pool();
    active(&pool, &spec("v"));
    take(&pool, "v", "empty");
    write(&environment, &pool, &[1, 2, 3], "first");
    write(&environment, &pool, &[1, 9, 3, 4, 5], "second");
    for (base, name, expected) in [
        ("empty", "first", vec![(0, 3)]),
        ("first", "second", vec![(1, 1), (3, 2)]),
        ("second", "first", vec![(1, 1), (3, 2)]),
        ("empty", "second", vec![(0, 5)]),
        ("second", "empty", vec![(0, 5)]),
        ("second", "second", vec![]),
        ("empty", "empty", vec![]),
    ] {
        let blocks = changed(&pool, base, name).expect("a comparison");
        assert_eq!(chunks(&blocks), expected, "{base} {name}");
        assert_eq!((blocks.size, blocks.chunk_size), (TEMPLATE_SIZE, CHUNK));
    }
    let blocks = changed(&pool, "first", "second").expect("a comparison");
    assert_eq!(blocks.bytes(), 3 * CHUNK);
    let rest: Vec<BlockRange> = blocks.starting_at(4 * CHUNK).collect();
    assert_eq!(rest, [BlockRange { offset: 4 * CHUNK, length: CHUNK }]);
    assert_eq!(blocks.starting_at(u64::MAX).count(), 0);
    // They need nothing but each other.
    pool.volume("v").and_then(|volume| volume.delete()).expect("delete");
    assert_eq!(chunks(&changed(&pool, "first", "second").expect("a comparison")), [(1, 1), (3, 2)]);
}

#[test]
fn what_a_volume_grew_by_differs() {
    let environment = Environment::new();
    let pool = environment.pool();
    let odd = TEMPLATE_SIZE + 512;
    active(&pool, &spec("v").size(odd));
    write(&environment, &pool, &[1], "small");
    let grown = TEMPLATE_SIZE + 8 * CHUNK;
    pool.volume("v").and_then(|volume| volume.expand(grown)).expect("expand");
    write(&environment, &pool, &[2], "large");
    let blocks = changed(&pool, "small", "large").expect("a comparison");
    let expected =
        [BlockRange { offset: 0, length: CHUNK }, BlockRange { offset: odd, length: grown - odd }];
    assert_eq!((blocks.ranges(), blocks.size), (&expected[..], grown));
    let back = changed(&pool, "large", "small").expect("a comparison");
    assert_eq!((chunks(&back), back.size), (vec![(0, 1)], odd));
}

#[test]
fn the_template_s_data_and_what_was_written_is_allocated() {
    let environment = Environment::new();
    let pool = environment.pool();
    let source = environment.directory.path().join("sparse.img");
    let image = File::create(&source).expect("an image");
    image.set_len(TEMPLATE_SIZE).expect("a length");
    // A block of any file system of this machine.
    let block = 64 << 10;
    image.write_all_at(&vec![7; block], 2 * block as u64).expect("write");
    let import = calf::ImportSpec::new(source, "sparse");
    pool.import_template(&import, &mut |_| ()).expect("an import");
    active(&pool, &VolumeSpec::new("v", "sparse").size(2 * TEMPLATE_SIZE));
    write(&environment, &pool, &[1, 2], "s");
    let blocks = pool.snapshot("s").and_then(|it| it.allocated()).expect("ranges");
    let expected = [
        BlockRange { offset: 0, length: 2 * CHUNK },
        BlockRange { offset: 2 * block as u64, length: block as u64 },
    ];
    assert_eq!((blocks.ranges(), blocks.size), (&expected[..], 2 * TEMPLATE_SIZE));
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let environment = Environment::new();
    let pool = environment.pool();
    active(&pool, &spec("v"));
    write(&environment, &pool, &[1, 2], "s");
    pool.create_volume(&spec("coarse").chunk_size(16 << 10)).expect("create");
    take(&pool, "coarse", "coarse");
    let error = changed(&pool, "coarse", "s").expect_err("other chunks");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.report().contains("chunks of 4096 bytes, and coarse of 16384"), "{error:?}");
    environment.import("debian", 7);
    pool.create_volume(&spec("other")).expect("create");
    take(&pool, "other", "other");
    let error = changed(&pool, "other", "s").expect_err("another template");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.report().contains("back the snapshot up as a whole"), "{error:?}");
    assert_eq!(kind(changed(&pool, "none", "s")), ErrorKind::NotFound);
    assert_eq!(kind(changed(&pool, "s", "none")), ErrorKind::NotFound);
    let elsewhere = Environment::new();
    let foreign = elsewhere.pool().snapshot("s").expect("a name");
    let here = pool.snapshot("s").expect("a name");
    assert_eq!(kind(here.changed_since(&foreign)), ErrorKind::InvalidArgument);

    // A store that the kernel cannot have written is not compared.
    let store = File::options().write(true).open(cow(&environment, "snapshots", "s")).expect("it");
    store.write_all_at(&[0xff; 8], CHUNK).expect("write");
    assert_eq!(kind(changed(&pool, "s", "s")), ErrorKind::Corrupt);
    assert_eq!(kind(here.allocated()), ErrorKind::Corrupt);
}

#[test]
fn a_failure_is_an_error_and_never_a_shorter_list() {
    let scenario = |pool: &Pool| {
        let blocks = changed(pool, "first", "second")?;
        assert_eq!(chunks(&blocks), [(1, 1), (3, 1)]);
        let blocks = pool.snapshot("first")?.allocated()?;
        // All of the image of this test is data.
        assert!(blocks.bytes() >= 3 * CHUNK);
        Ok::<_, calf::Error>(())
    };
    for failure in FAILURES {
        let mut calls = 0;
        for n in 1.. {
            let environment = Environment::new();
            let pool = environment.pool();
            active(&pool, &spec("v"));
            write(&environment, &pool, &[1, 2, 3], "first");
            write(&environment, &pool, &[1, 9, 3, 4], "second");
            let before = fs::read_dir(pool.root().join("snapshots")).expect("a list").count();
            environment.host.fail_at(n, failure);
            let outcome = unless_crashed(|| scenario(&pool));
            let happened = environment.host.heal();
            if let Some(outcome) = outcome {
                assert_eq!(outcome.is_err(), happened, "{failure:?} at call {n}");
            }
            let after = fs::read_dir(pool.root().join("snapshots")).expect("a list").count();
            assert_eq!(before, after);
            scenario(&environment.pool()).expect("nothing is left of it");
            if !happened {
                break;
            }
            calls = n;
        }
        assert!(calls > 20, "{failure:?}: only {calls} calls");
    }
}
