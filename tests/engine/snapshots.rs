//! Snapshots on a simulated machine: what they keep, who may have one, and what starts from them.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::PathBuf;

use calf::sys::{CopyMode, DeviceNumber, SnapshotUsage};
use calf::{
    Consistency, Durability, ErrorKind, Fallback, GuardOptions, Key, Pool, Reserve, SnapshotSpec,
    Taken, VolumeSource, VolumeSpec, VolumeState, Watermark,
};
use calf_test_kit::simulated_pool::{
    Environment, TEMPLATE_SIZE, mount, publication, put_store, spec, stored_chunk,
};

fn take(pool: &Pool, volume: &str, name: &str) -> calf::Result<Taken> {
    pool.volume(volume)?.take_snapshot(&SnapshotSpec::new(name))
}

fn from_snapshot(id: &str, name: &str) -> VolumeSpec {
    VolumeSpec::from_source(id, VolumeSource::Snapshot(name.to_owned()))
}

fn kind<T: std::fmt::Debug>(result: calf::Result<T>) -> ErrorKind {
    result.expect_err("an error").kind()
}

fn volume_file(environment: &Environment, id: &str, name: &str) -> PathBuf {
    environment.directory.path().join("pool/volumes").join(Key::of(id).as_str()).join(name)
}

fn snapshot_file(environment: &Environment, name: &str, file: &str) -> PathBuf {
    environment.directory.path().join("pool/snapshots").join(Key::of(name).as_str()).join(file)
}

/// What is under `snapshots` in the pool.
fn snapshot_directories(environment: &Environment) -> usize {
    fs::read_dir(environment.directory.path().join("pool/snapshots")).map_or(0, Iterator::count)
}

/// An active volume `v` in which one chunk holds `byte`.
fn written(environment: &Environment, pool: &Pool, byte: u8) -> DeviceNumber {
    let volume = pool.create_volume(&spec("v")).expect("create");
    let device = volume.activate().expect("activate").number();
    put_store(&volume_file(environment, "v", "cow"), &[byte]);
    device
}

#[test]
fn a_snapshot_keeps_what_was_written_and_outlives_its_volume() {
    let environment = Environment::new();
    let pool = environment.pool();
    written(&environment, &pool, 1);
    let taken = take(&pool, "v", "s").expect("a snapshot");
    let record = &taken.snapshot.record;
    assert_eq!((record.name.as_str(), record.volume.as_str()), ("s", "v"));
    assert_eq!((record.size, record.chunks, record.stored), (TEMPLATE_SIZE, 1, 3 * 4096));
    assert_eq!(record.consistency, Consistency::Crash);
    assert!(taken.waited.is_some() && !taken.copied);

    // What the volume writes later is not in it.
    put_store(&volume_file(&environment, "v", "cow"), &[2]);
    assert_eq!(stored_chunk(&snapshot_file(&environment, "s", "cow"), 0), 1);
    pool.volume("v").expect("an id").delete().expect("delete");
    let copy =
        pool.create_volume(&from_snapshot("w", "s").size(2 * TEMPLATE_SIZE)).expect("a copy");
    assert_eq!(stored_chunk(&volume_file(&environment, "w", "cow"), 0), 1);
    let status = copy.status().expect("it is there");
    assert_eq!(status.record.source, Some(VolumeSource::Snapshot("s".to_owned())));
    assert_eq!(
        (status.record.size, status.record.template.as_str()),
        (2 * TEMPLATE_SIZE, "debian")
    );
    copy.activate().expect("activate");
    put_store(&volume_file(&environment, "w", "cow"), &[3]);
    assert_eq!(stored_chunk(&snapshot_file(&environment, "s", "cow"), 0), 1, "it is frozen");

    // The template's content stays for the snapshot, and for the volume after it.
    let template = pool.template("debian").expect("a name");
    assert_eq!(template.status().expect("it is there").snapshots, ["s"]);
    assert_eq!(kind(template.remove()), ErrorKind::InUse);
    copy.delete().expect("delete");
    let error = template.remove().expect_err("the snapshot needs it");
    assert!(error.report().contains("1 snapshot uses it: s"), "{}", error.report());
    pool.snapshot("s").expect("a name").delete().expect("delete");
    pool.snapshot("s").expect("a name").delete().expect("what is gone is fine");
    template.remove().expect("nobody needs it");
    assert_eq!(snapshot_directories(&environment), 0);
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

#[test]
fn content_without_a_name_goes_with_its_last_snapshot() {
    let environment = Environment::new();
    let pool = environment.pool();
    written(&environment, &pool, 1);
    take(&pool, "v", "s").expect("a snapshot");
    environment.import("debian", 7);
    pool.volume("v").expect("an id").delete().expect("delete");
    let images = || fs::read_dir(pool.root().join("images")).expect("images").count();
    pool.reconcile().expect("reconcile");
    assert_eq!(images(), 2, "the snapshot rests on the former content");
    pool.create_volume(&from_snapshot("w", "s")).expect("a copy");
    pool.snapshot("s").expect("a name").delete().expect("delete");
    pool.reconcile().expect("reconcile");
    assert_eq!(images(), 2, "the volume does");
    pool.volume("w").expect("an id").delete().expect("delete");
    assert_eq!(images(), 1);
}

#[test]
fn a_repeated_call_finds_the_same_snapshot() {
    let environment = Environment::new();
    let pool = environment.pool();
    written(&environment, &pool, 1);
    let first = take(&pool, "v", "s").expect("a snapshot");
    put_store(&volume_file(&environment, "v", "cow"), &[2]);
    let again = take(&pool, "v", "s").expect("the same");
    assert_eq!((again.snapshot, again.waited), (first.snapshot.clone(), None));
    let frozen = SnapshotSpec::new("s").consistency(Consistency::FileSystem);
    let volume = pool.volume("v").expect("an id");
    assert_eq!(kind(volume.take_snapshot(&frozen)), ErrorKind::AlreadyExists);
    pool.create_volume(&spec("other")).expect("create");
    assert_eq!(kind(take(&pool, "other", "s")), ErrorKind::AlreadyExists);
    assert_eq!(kind(take(&pool, "none", "t")), ErrorKind::NotFound);
    volume.delete().expect("delete");
    let gone = take(&pool, "v", "s").expect("it outlives its volume");
    assert_eq!(gone.snapshot, first.snapshot);
    let names: Vec<String> =
        pool.snapshots().expect("a list").into_iter().map(|it| it.record.name).collect();
    assert_eq!(names, ["s"]);
    for name in ["", "a\nb", &"x".repeat(129)] {
        assert_eq!(kind(take(&pool, "other", name)), ErrorKind::InvalidArgument);
        assert_eq!(kind(pool.snapshot(name)), ErrorKind::InvalidArgument);
    }
    assert_eq!(kind(pool.snapshot("t").expect("a name").status()), ErrorKind::NotFound);
    assert_eq!(kind(pool.create_volume(&from_snapshot("w", "t"))), ErrorKind::NotFound);
}

#[test]
fn only_a_mounted_file_system_is_frozen() {
    let environment = Environment::new();
    let pool = environment.pool();
    let device = written(&environment, &pool, 1);
    environment.host.take_copies();
    take(&pool, "v", "block").expect("a snapshot");
    let [(CopyMode::Reflink, _, suspended)] = &environment.host.take_copies()[..] else {
        panic!("one copy is made");
    };
    assert_eq!(suspended, &[], "nobody waits for a block volume");
    let wanted = SnapshotSpec::new("no").consistency(Consistency::FileSystem);
    let volume = pool.volume("v").expect("an id");
    assert_eq!(kind(volume.take_snapshot(&wanted)), ErrorKind::Unprepared);
    assert_eq!(snapshot_directories(&environment), 1);

    let publish = publication(&environment, "v", mount());
    volume.stage(&publish.stage).expect("stage");
    environment.host.take_copies();
    let taken = take(&pool, "v", "mounted").expect("a snapshot");
    assert_eq!(taken.snapshot.record.consistency, Consistency::FileSystem);
    assert_eq!(environment.host.take_copies()[0].2, [device], "it is suspended meanwhile");
    assert_eq!(volume.status().expect("it is there").state, VolumeState::Active);
    let crash = SnapshotSpec::new("crash").consistency(Consistency::Crash);
    volume.take_snapshot(&crash).expect("a snapshot");
    assert_eq!(environment.host.take_copies()[0].2, []);
}

#[test]
fn a_volume_without_sound_content_has_no_snapshot() {
    let environment = Environment::new();
    let pool = environment.pool();
    let device = written(&environment, &pool, 1);
    let refused = |expected, words: &str| {
        let error = take(&pool, "v", "s").expect_err(words);
        assert_eq!(error.kind(), expected, "{error:?}");
        assert!(error.report().contains(words), "{words}: {}", error.report());
        assert!(!error.remedies().is_empty(), "{words}: {error:?}");
        assert_eq!(snapshot_directories(&environment), 0, "{words}");
    };
    environment.host.set_usage(device, SnapshotUsage::Invalid);
    refused(ErrorKind::NoSpace, "calf volume recover v");
    environment
        .host
        .set_usage(device, SnapshotUsage::Valid { used: 8192, total: 1, metadata: 8192 });

    let store = volume_file(&environment, "v", "cow");
    let file = File::options().read(true).write(true).open(&store).expect("the store");
    let mut whole = [0; 16];
    file.read_exact_at(&mut whole, 4096).expect("read");
    file.write_all_at(&[0xff; 8], 4096).expect("write");
    refused(ErrorKind::Corrupt, "behind the end of the volume");
    file.write_all_at(&whole, 4096).expect("write");

    fs::write(volume_file(&environment, "v", "lost-writes"), "").expect("write");
    refused(ErrorKind::Corrupt, "failed to write data");

    environment.host.reboot();
    refused(ErrorKind::Unprepared, "earlier boot");
    pool.volume("v").expect("an id").activate().expect("activate");
    take(&pool, "v", "s").expect("it starts anew");
    assert_eq!(pool.snapshots().expect("a list")[0].record.chunks, 0);
}

#[test]
fn a_volume_at_its_limit_has_a_snapshot_which_may_be_given_more() {
    let environment = Environment::new();
    let pool = environment.pool();
    let volume = pool.create_volume(&spec("v").cow_limit(8192)).expect("create");
    let device = volume.activate().expect("activate").number();
    put_store(&volume_file(&environment, "v", "cow"), &[1, 2]);
    environment.host.set_usage(device, SnapshotUsage::Overflow);
    take(&pool, "v", "s").expect("a snapshot");
    let copy = |limit: Option<u64>| from_snapshot("w", "s").cow_limit(limit);
    let low = pool.create_volume(&copy(Some(4096))).expect_err("it holds two chunks");
    assert_eq!(low.kind(), ErrorKind::OutOfRange);
    assert!(low.report().contains("snapshot s holds, 8 KiB"), "{}", low.report());
    pool.create_volume(&copy(Some(8192))).expect("what it holds fits").delete().expect("delete");
    pool.create_volume(&copy(None)).expect("without a limit");
}

#[test]
fn a_private_copy_has_no_snapshot() {
    let environment = Environment::new();
    environment.host.without_snapshot(true);
    let root = environment.directory.path().join("pool");
    let pool = environment.options().fallback(Some(Fallback::Copy)).open(&root).expect("a pool");
    pool.create_volume(&spec("v")).expect("create");
    let error = take(&pool, "v", "s").expect_err("it has no COW store");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    environment.host.without_snapshot(false);
    assert_eq!(kind(take(&pool, "v", "s")), ErrorKind::Unsupported);

    let other = environment.pool();
    other.create_volume(&spec("w")).expect("create");
    take(&other, "w", "t").expect("a snapshot");
    environment.host.without_snapshot(true);
    assert_eq!(kind(pool.create_volume(&from_snapshot("x", "t"))), ErrorKind::Unsupported);
    assert_eq!(environment.volume_directories().len(), 2);
}

#[test]
fn without_shared_blocks_a_snapshot_is_a_copy() {
    let environment = Environment::new();
    let pool = environment.pool();
    written(&environment, &pool, 5);
    environment.host.without_reflink(true);
    let live = take(&pool, "v", "live").expect("a copy of a volume in use");
    assert!(live.copied);
    assert_eq!(stored_chunk(&snapshot_file(&environment, "live", "cow"), 0), 5);
    let volume = pool.volume("v").expect("an id");
    assert_eq!(volume.status().expect("it is there").state, VolumeState::Active);

    volume.deactivate().expect("deactivate");
    let taken = take(&pool, "v", "s").expect("a copy");
    assert!(taken.copied);
    pool.create_volume(&from_snapshot("w", "s")).expect("a copy of that");
    for name in ["cow", "seed"] {
        assert_eq!(stored_chunk(&volume_file(&environment, "w", name), 0), 5, "{name}");
    }
    environment.host.set_free(TEMPLATE_SIZE);
    assert_eq!(kind(take(&pool, "v", "t")), ErrorKind::NoSpace);
    assert_eq!(snapshot_directories(&environment), 2);
}

#[test]
fn an_ephemeral_volume_starts_from_its_snapshot_after_each_reboot() {
    let environment = Environment::new();
    let pool = environment.pool();
    written(&environment, &pool, 1);
    take(&pool, "v", "s").expect("a snapshot");
    let ephemeral = pool.create_volume(&from_snapshot("e", "s")).expect("a copy");
    let durable = from_snapshot("d", "s").durability(Durability::Durable);
    let durable = pool.create_volume(&durable).expect("a copy");
    assert!(!volume_file(&environment, "d", "seed").exists(), "it does not start anew");
    pool.snapshot("s").expect("a name").delete().expect("delete");
    let chunk = |id: &str| stored_chunk(&volume_file(&environment, id, "cow"), 0);
    for _ in 0..2 {
        for volume in [&ephemeral, &durable] {
            volume.activate().expect("activate");
            put_store(&volume_file(&environment, volume.id(), "cow"), &[9]);
        }
        environment.host.reboot();
        for volume in [&ephemeral, &durable] {
            volume.activate().expect("activate");
        }
        assert_eq!((chunk("e"), chunk("d")), (1, 9));
    }
    // Without what it starts from, nothing else takes its place.
    environment.host.reboot();
    fs::remove_file(volume_file(&environment, "e", "seed")).expect("remove");
    assert_eq!(kind(ephemeral.activate()), ErrorKind::Corrupt);
}

#[test]
fn a_volume_of_a_snapshot_has_what_the_snapshot_determines() {
    let environment = Environment::new();
    let pool = environment.pool();
    pool.create_volume(&spec("v").chunk_size(16384).size(2 * TEMPLATE_SIZE)).expect("create");
    take(&pool, "v", "s").expect("a snapshot of a volume that was never active");
    for (change, expected) in [
        (from_snapshot("w", "s").size(TEMPLATE_SIZE), ErrorKind::OutOfRange),
        (from_snapshot("w", "s").reserve(Reserve::Full), ErrorKind::Unsupported),
        (
            VolumeSpec::new("w", "alpine").source(VolumeSource::Snapshot("s".to_owned())),
            ErrorKind::InvalidArgument,
        ),
        (
            VolumeSpec::from_source("w", VolumeSource::Snapshot("a\nb".to_owned())),
            ErrorKind::InvalidArgument,
        ),
    ] {
        assert_eq!(kind(pool.create_volume(&change)), expected, "{change:?}");
        assert_eq!(environment.volume_directories().len(), 1, "{change:?}");
    }
    let named = VolumeSpec::new("w", "debian").source(VolumeSource::Snapshot("s".to_owned()));
    let volume = pool.create_volume(&named).expect("of its template");
    let record = volume.status().expect("it is there").record;
    assert_eq!((record.chunk_size, record.size), (16384, 2 * TEMPLATE_SIZE));
    for same in [named.clone(), from_snapshot("w", "s")] {
        pool.create_volume(&same).expect("the same");
    }
    for other in [spec("w"), from_snapshot("w", "t"), named.clone().size(3 * TEMPLATE_SIZE)] {
        assert_eq!(kind(pool.create_volume(&other)), ErrorKind::AlreadyExists, "{other:?}");
    }
    assert_eq!(kind(pool.create_volume(&from_snapshot("v", "s"))), ErrorKind::AlreadyExists);
}

#[test]
fn a_volume_of_a_snapshot_never_becomes_a_spare_of_its_template() {
    let environment = Environment::new();
    let pool = environment.pool();
    pool.create_volume(&spec("v")).expect("create");
    take(&pool, "v", "s").expect("a snapshot");
    pool.template("debian").and_then(|template| template.set_warm(1)).expect("warm");
    pool.tend_spares(&calf::Cancel::never()).expect("a spare");
    let volume = pool.create_volume(&from_snapshot("w", "s")).expect("a copy");
    volume.activate().expect("activate");
    assert_eq!(pool.spares().expect("spares")["debian"], 1);
}

#[test]
fn what_was_edited_is_refused_and_harms_nothing_else() {
    let environment = Environment::new();
    let pool = environment.pool();
    written(&environment, &pool, 1);
    let images = || fs::read_dir(pool.root().join("images")).expect("images").count();
    let outside = environment.path("outside");
    fs::create_dir(&outside).expect("a directory");
    fs::write(outside.join("cow"), "tenant").expect("write");
    /// Damages a record and a store.
    type Damage = fn(PathBuf, PathBuf);
    let damages: [(&str, Damage); 7] = [
        ("cut short", |_, cow| {
            File::options().write(true).open(cow).unwrap().set_len(4096).unwrap()
        }),
        ("replaced", |_, cow| fs::write(cow, vec![0xca; 3 * 4096]).unwrap()),
        ("missing", |_, cow| fs::remove_file(cow).unwrap()),
        ("not a regular file", |_, cow| {
            fs::remove_file(&cow).unwrap();
            symlink("/etc/passwd", cow).unwrap();
        }),
        ("chunks of 8192", |_, cow| {
            File::options().write(true).open(cow).unwrap().write_all_at(&[16], 12).unwrap();
        }),
        ("read record", |record, _| {
            let text = fs::read_to_string(&record).unwrap();
            fs::write(record, text.replace("\"chunks\": 1", "\"chunks\": -1")).unwrap();
        }),
        ("record of snapshot other", |record, _| {
            let text = fs::read_to_string(&record).unwrap();
            fs::write(record, text.replace("\"name\": \"s\"", "\"name\": \"other\"")).unwrap();
        }),
    ];
    for (words, damage) in damages {
        take(&pool, "v", "s").expect("a snapshot");
        let directory = snapshot_file(&environment, "s", "");
        damage(directory.join("snapshot.json"), directory.join("cow"));
        let error = pool.create_volume(&from_snapshot("w", "s")).expect_err(words);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        assert!(error.report().contains(words), "{words}: {}", error.report());
        assert_eq!(environment.volume_directories().len(), 1, "{words}");
        let report = pool.reconcile().expect("reconcile");
        assert_eq!(report.removed, [], "{words}");
        assert_eq!(images(), 1, "{words}");
        fs::remove_dir_all(&directory).expect("remove");
    }
    // A symlink in the place of the directory leads nowhere.
    let directory = environment.directory.path().join("pool/snapshots").join(Key::of("s").as_str());
    symlink(&outside, &directory).expect("a symlink");
    assert_eq!(kind(pool.snapshot("s").expect("a name").delete()), ErrorKind::Corrupt);
    assert_eq!(kind(take(&pool, "v", "s")), ErrorKind::Corrupt);
    assert_eq!(pool.damage().expect("damage").len(), 1);
    pool.reconcile().expect("reconcile");
    assert_eq!(fs::read_to_string(outside.join("cow")).expect("read"), "tenant");
}

#[test]
fn what_others_may_write_anew_counts() {
    let environment = Environment::new();
    let pool = environment.pool();
    written(&environment, &pool, 1);
    let space = || pool.commitment().expect("a sum").space;
    let before = space();
    let taken = take(&pool, "v", "s").expect("a snapshot").snapshot;
    assert!(taken.allocated >= 3 * 4096, "{taken:?}");
    assert_eq!(space(), before + taken.allocated, "the volume may rewrite what they share");
    pool.create_volume(&from_snapshot("w", "s")).expect("a copy");
    let full = calf::internal::store_size(TEMPLATE_SIZE, None, 4096);
    assert_eq!(space(), before + taken.allocated + full + taken.allocated, "store and seed");
    pool.volume("w").expect("an id").delete().expect("delete");

    let bounded = |allowed: u64| {
        environment.host.set_free((256 << 20) + allowed);
        let root = environment.directory.path().join("pool");
        environment
            .options()
            .overcommit_ratio(calf::OvercommitRatio::new(1.0).ok())
            .open(root)
            .expect("a pool")
    };
    assert_eq!(kind(take(&bounded(1 << 20), "v", "t")), ErrorKind::NoSpace, "{before}");
    let pool = bounded(4 << 20);
    take(&pool, "v", "t").expect("there is room");
    let copy = pool.create_volume(&from_snapshot("w", "s"));
    copy.expect("there is room");
    let more = bounded(2 << 20).create_volume(&from_snapshot("x", "s"));
    assert_eq!(kind(more), ErrorKind::NoSpace);
}

#[test]
fn a_nearly_full_pool_makes_no_snapshots() {
    let environment = Environment::new();
    let pool = environment.pool();
    written(&environment, &pool, 1);
    let options = GuardOptions::default().low("128Mi".parse::<Watermark>().expect("a watermark"));
    let mut guard = pool.guard(&options);
    environment.host.set_free(100 << 20);
    guard.look().expect("a look");
    assert_eq!(kind(take(&pool, "v", "s")), ErrorKind::NoSpace);
    assert_eq!(snapshot_directories(&environment), 0);
}
