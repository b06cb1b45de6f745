//! Templates made of snapshots and volumes on a simulated machine: what they hold, what they share, who needs
//! whom, and what failures and crashes leave.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use calf::sys::fake::Failure;
use calf::{
    Cancel, CommitSpec, Committed, Consistency, Digest, ErrorKind, ImportSpec, Key, Pool,
    SnapshotSpec, VolumeSource, VolumeSpec, VolumeState,
};
use calf_test_kit::simulated_pool::{
    Environment, FAILURES, TEMPLATE_SIZE, ext4_image, put_store, spec, unless_crashed,
};
use sha2::Digest as _;

const CHUNK: usize = 4096;

fn of_snapshot(name: &str) -> CommitSpec {
    CommitSpec::new(VolumeSource::Snapshot("s".to_owned()), name)
}

fn of_volume(name: &str) -> CommitSpec {
    CommitSpec::new(VolumeSource::Volume("v".to_owned()), name)
}

fn commit(pool: &Pool, spec: &CommitSpec) -> calf::Result<Committed> {
    pool.commit_template(spec, &mut |_| ())
}

fn kind<T: std::fmt::Debug>(result: calf::Result<T>) -> ErrorKind {
    result.expect_err("an error").kind()
}

fn cow(environment: &Environment, id: &str) -> PathBuf {
    environment.directory.path().join("pool/volumes").join(Key::of(id).as_str()).join("cow")
}

fn images(environment: &Environment) -> PathBuf {
    environment.directory.path().join("pool/images")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|it| it.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

/// The content of a template, whose file may be longer.
fn content(pool: &Pool, environment: &Environment, name: &str) -> Vec<u8> {
    let record = pool.template(name).and_then(|it| it.record()).expect("a template");
    let image = images(environment).join(record.digest.as_str()).join("image");
    let mut bytes = fs::read(image).expect("an image");
    bytes.truncate(usize::try_from(record.size).expect("a size"));
    assert_eq!(bytes.len() as u64, record.size);
    bytes
}

/// What the template `debian` holds, with these bytes in its first chunks.
fn expected(first: &[u8]) -> Vec<u8> {
    let mut bytes = ext4_image(0xca);
    for (chunk, byte) in first.iter().enumerate() {
        bytes[chunk * CHUNK..(chunk + 1) * CHUNK].fill(*byte);
    }
    bytes
}

/// An active volume `v` in which the first two chunks hold these bytes, and its snapshot `s`.
fn written(pool: &Pool, environment: &Environment, bytes: [u8; 2]) {
    let volume = pool.create_volume(&spec("v")).expect("create");
    volume.activate().expect("activate");
    put_store(&cow(environment, "v"), &bytes);
    volume.take_snapshot(&SnapshotSpec::new("s")).expect("a snapshot");
}

#[test]
fn a_snapshot_becomes_a_template_that_needs_nothing_else() {
    let environment = Environment::new();
    let pool = environment.pool();
    written(&pool, &environment, [1, 2]);
    put_store(&cow(&environment, "v"), &[9, 9]);
    let committed = commit(&pool, &of_snapshot("base-2")).expect("a template");
    let record = &committed.template;
    assert_eq!((record.name.as_str(), record.source.as_str()), ("base-2", "snapshot s"));
    assert_eq!((record.size, record.digest.sha256()), (TEMPLATE_SIZE, None));
    assert!(record.digest.qualified().starts_with("commit:"));
    assert_eq!((committed.copied, committed.waited), (0, None));
    assert!(committed.shared >= 2 * CHUNK as u64, "{committed:?}");
    assert!(content(&pool, &environment, "base-2") == expected(&[1, 2]));
    let home = images(&environment).join(record.digest.as_str());
    assert_eq!(names(&home), ["image"], "nothing else is left of it");

    pool.volume("v").and_then(|volume| volume.delete()).expect("delete");
    pool.snapshot("s").and_then(|snapshot| snapshot.delete()).expect("delete");
    pool.template("debian").and_then(|template| template.remove()).expect("it is not needed");
    assert_eq!(names(&images(&environment)), [record.digest.as_str()]);
    let report = pool.reconcile().expect("reconcile");
    assert_eq!(report.failed, Vec::<String>::new());
    let child = pool.create_volume(&VolumeSpec::new("w", "base-2")).expect("a volume of it");
    child.activate().expect("activate");
    put_store(&cow(&environment, "w"), &[3]);
    child.take_snapshot(&SnapshotSpec::new("s")).expect("a snapshot on it");
    commit(&pool, &of_snapshot("base-3")).expect("a template of it");
    assert!(content(&pool, &environment, "base-3") == expected(&[3, 2]));
    assert!(content(&pool, &environment, "base-2") == expected(&[1, 2]));
}

#[test]
fn a_volume_in_use_is_cut_and_leaves_no_snapshot() {
    let environment = Environment::new();
    let pool = environment.pool();
    written(&pool, &environment, [1, 2]);
    pool.snapshot("s").and_then(|snapshot| snapshot.delete()).expect("delete");
    let committed = commit(&pool, &of_volume("base-2")).expect("a template");
    assert!(committed.waited.is_some() && committed.copied == 0);
    assert_eq!(committed.template.source, "volume v");
    assert!(content(&pool, &environment, "base-2") == expected(&[1, 2]));
    assert!(pool.snapshots().expect("a list").is_empty());
    assert!(names(&environment.directory.path().join("pool/snapshots")).is_empty());
    assert!(names(&images(&environment)).iter().all(|name| !name.starts_with('.')));
    assert_eq!(
        pool.volume("v").and_then(|volume| volume.status()).expect("it is there").state,
        VolumeState::Active
    );

    // Each call has an instant of its own, even if nothing was written in between.
    let again = commit(&pool, &of_volume("base-3")).expect("another");
    assert_ne!(again.template.digest, committed.template.digest);
}

#[test]
fn a_volume_that_was_never_written_becomes_its_template_with_its_own_size() {
    let environment = Environment::new();
    let pool = environment.pool();
    let size = TEMPLATE_SIZE + 512;
    pool.create_volume(&spec("v").size(size)).expect("create");
    let committed = commit(&pool, &of_volume("larger")).expect("a template");
    assert_eq!(committed.template.size, size);
    let mut expected = expected(&[]);
    expected.resize(size as usize, 0);
    assert!(content(&pool, &environment, "larger") == expected);
}

#[test]
fn a_last_chunk_that_the_volume_cuts_off_ends_with_the_content() {
    let environment = Environment::new();
    let pool = environment.pool();
    let size = TEMPLATE_SIZE + 512;
    pool.create_volume(&spec("v").size(size)).expect("create");
    let path = cow(&environment, "v");
    put_store(&path, &[7, 8]);
    // The first exception is of the last chunk, which is 512 bytes of the volume.
    let store = File::options().write(true).open(path).expect("the store");
    let last = TEMPLATE_SIZE / CHUNK as u64;
    store.write_all_at(&last.to_le_bytes(), CHUNK as u64).expect("write");
    commit(&pool, &of_volume("odd")).expect("a template");
    let mut expected = expected(&[]);
    expected[CHUNK..2 * CHUNK].fill(8);
    expected.resize(size as usize, 7);
    assert!(content(&pool, &environment, "odd") == expected);
    // A volume that is larger than the template has zeros after it.
    let larger = VolumeSpec::new("w", "odd").size(2 * TEMPLATE_SIZE);
    pool.create_volume(&larger).expect("create").activate().expect("activate");
    let digest = pool.template("odd").and_then(|it| it.record()).expect("a record").digest;
    let image = fs::read(images(&environment).join(digest.as_str()).join("image")).expect("read");
    assert_eq!(image.len() as u64, 2 * TEMPLATE_SIZE);
    assert!(image[size as usize..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_repeated_commit_of_a_snapshot_finds_the_same_content() {
    let environment = Environment::new();
    let pool = environment.pool();
    written(&pool, &environment, [1, 2]);
    let first = commit(&pool, &of_snapshot("base-2")).expect("a template").template;
    let again = commit(&pool, &of_snapshot("base-2")).expect("the same").template;
    assert_eq!(again, first);
    let other = commit(&pool, &of_snapshot("other")).expect("another name").template;
    assert_eq!(other.digest, first.digest);
    assert_eq!(names(&images(&environment)).len(), 2);

    // A snapshot of the same name is another one.
    pool.snapshot("s").and_then(|snapshot| snapshot.delete()).expect("delete");
    put_store(&cow(&environment, "v"), &[5, 6]);
    pool.volume("v").and_then(|it| it.take_snapshot(&SnapshotSpec::new("s"))).expect("a snapshot");
    let moved = commit(&pool, &of_snapshot("base-2")).expect("the name moves").template;
    assert_ne!(moved.digest, first.digest);
    assert!(content(&pool, &environment, "base-2") == expected(&[5, 6]));
    assert!(content(&pool, &environment, "other") == expected(&[1, 2]));
    pool.template("other").and_then(|template| template.remove()).expect("nobody needs it");
    assert_eq!(names(&images(&environment)).len(), 2);
}

#[test]
fn with_its_digest_a_commit_is_the_same_content_as_an_import() {
    let environment = Environment::new();
    let pool = environment.pool();
    written(&pool, &environment, [1, 2]);
    let spec = of_snapshot("base-2").digest(true);
    let mut told = Vec::new();
    let committed =
        pool.commit_template(&spec, &mut |progress| told.push(progress.done)).expect("a template");
    assert_eq!(told.last(), Some(&TEMPLATE_SIZE));
    let bytes = expected(&[1, 2]);
    let digest = Digest::parse(&hex::encode(sha2::Sha256::digest(&bytes))).expect("a digest");
    assert_eq!(committed.template.digest, digest);
    let image = environment.path("image");
    fs::write(&image, &bytes).expect("write");
    let imported = pool.import_template(&ImportSpec::new(image, "other"), &mut |_| ());
    assert_eq!(imported.expect("an import").digest, digest);
    assert_eq!(names(&images(&environment)).len(), 2, "it is stored once");

    let cancelled = of_snapshot("base-3")
        .digest(true)
        .cancel(Cancel::from(std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true))));
    assert_eq!(kind(commit(&pool, &cancelled)), ErrorKind::Cancelled);
    assert_eq!(names(&images(&environment)).len(), 2, "nothing of it is left");
}

#[test]
fn the_pools_format_rises_for_content_that_was_not_read() {
    let environment = Environment::new();
    let pool = environment.pool();
    written(&pool, &environment, [1, 2]);
    let format = || {
        let text = fs::read(environment.directory.path().join("pool/pool.json")).expect("read");
        serde_json::from_slice::<serde_json::Value>(&text).expect("JSON")["format"].clone()
    };
    commit(&pool, &of_snapshot("read").digest(true)).expect("a template");
    assert_eq!(format(), 4);
    commit(&pool, &of_snapshot("unread")).expect("a template");
    assert_eq!(format(), 5);
}

#[test]
fn what_cannot_be_shared_is_copied_and_told() {
    let environment = Environment::new();
    let pool = environment.pool();
    written(&pool, &environment, [1, 2]);
    environment.host.share_blocks_of(64 << 10);
    let some = commit(&pool, &of_snapshot("some")).expect("a template");
    assert_eq!(some.copied, 2 * CHUNK as u64);
    assert!(content(&pool, &environment, "some") == expected(&[1, 2]));
    environment.host.without_reflink(true);
    let all = commit(&pool, &of_snapshot("all")).expect("a template");
    assert_eq!(all.shared, 0);
    assert!(content(&pool, &environment, "all") == expected(&[1, 2]));

    commit(&pool, &of_volume("live")).expect("a template");
    assert!(content(&pool, &environment, "live") == expected(&[1, 2]));
    pool.volume("v").and_then(|volume| volume.deactivate()).expect("deactivate");
    commit(&pool, &of_volume("rest")).expect("a template");
    assert!(content(&pool, &environment, "rest") == expected(&[1, 2]));

    // There is room for the call, but not for a copy.
    let reserve = 256 << 20;
    environment.host.set_free(reserve + CHUNK as u64);
    let error = commit(&pool, &of_snapshot("none")).expect_err("no room");
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    assert!(names(&images(&environment)).iter().all(|name| !name.starts_with('.')));
}

#[test]
fn what_has_no_sound_content_is_refused() {
    let environment = Environment::new();
    let pool = environment.pool();
    assert_eq!(kind(commit(&pool, &of_snapshot("base-2"))), ErrorKind::NotFound);
    assert_eq!(kind(commit(&pool, &of_volume("base-2"))), ErrorKind::NotFound);
    written(&pool, &environment, [1, 2]);
    for name in ["", "a/b", ".hidden"] {
        assert_eq!(kind(commit(&pool, &of_snapshot(name))), ErrorKind::InvalidArgument);
    }
    let frozen = of_snapshot("base-2").consistency(Consistency::FileSystem);
    assert_eq!(kind(commit(&pool, &frozen)), ErrorKind::InvalidArgument);
    let frozen = of_volume("base-2").consistency(Consistency::FileSystem);
    assert_eq!(kind(commit(&pool, &frozen)), ErrorKind::Unprepared);

    // A snapshot whose store does not make sense, and one whose template was damaged.
    let snapshots = environment.directory.path().join("pool/snapshots");
    let store = snapshots.join(Key::of("s").as_str()).join("cow");
    put_store(&store, &[1, 2]);
    let file = File::options().write(true).open(&store).expect("the store");
    file.write_all_at(&1u64.to_le_bytes(), CHUNK as u64).expect("write");
    let error = commit(&pool, &of_snapshot("base-2")).expect_err("damaged");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.report().contains("two exceptions are of one chunk"), "{}", error.report());
    put_store(&store, &[1, 2]);
    let digest = pool.template("debian").and_then(|it| it.record()).expect("a record").digest;
    let image = images(&environment).join(digest.as_str()).join("image");
    fs::rename(&image, environment.path("elsewhere")).expect("move");
    assert_eq!(kind(commit(&pool, &of_snapshot("base-2"))), ErrorKind::Corrupt);
    fs::rename(environment.path("elsewhere"), &image).expect("move");

    // A file system that says it is larger than the disk.
    let start = fs::read(&image).expect("read")[..CHUNK].to_vec();
    let file = File::options().write(true).open(&store).expect("the store");
    file.write_all_at(&start, 2 * CHUNK as u64).expect("write");
    file.write_all_at(&u32::MAX.to_le_bytes(), 2 * CHUNK as u64 + 1028).expect("write");
    assert_eq!(kind(commit(&pool, &of_snapshot("base-2"))), ErrorKind::InvalidArgument);
    assert_eq!(names(&images(&environment)), [digest.as_str()], "nothing of it is left");
}

type Scenario = fn(&Environment, &Pool) -> calf::Result<()>;

/// Commits of a volume in use and of a snapshot, and a volume of one of them.
fn life(environment: &Environment, pool: &Pool) -> calf::Result<()> {
    let volume = pool.create_volume(&spec("v"))?;
    volume.activate()?;
    put_store(&cow(environment, "v"), &[1]);
    commit(pool, &of_volume("live"))?;
    volume.take_snapshot(&SnapshotSpec::new("s"))?;
    commit(pool, &of_snapshot("kept"))?;
    commit(pool, &of_snapshot("live"))?;
    pool.create_volume(&VolumeSpec::new("w", "kept"))?.activate()?;
    tear_down(pool)
}

/// The same where blocks cannot be shared, with the digest.
fn unshared_life(environment: &Environment, pool: &Pool) -> calf::Result<()> {
    environment.host.without_reflink(true);
    let volume = pool.create_volume(&spec("v"))?;
    put_store(&cow(environment, "v"), &[1]);
    commit(pool, &of_volume("live"))?;
    volume.take_snapshot(&SnapshotSpec::new("s"))?;
    commit(pool, &of_snapshot("kept").digest(true))?;
    pool.create_volume(&VolumeSpec::new("w", "kept"))?.activate()?;
    tear_down(pool)
}

fn tear_down(pool: &Pool) -> calf::Result<()> {
    for id in ["v", "w"] {
        pool.volume(id)?.delete()?;
    }
    pool.snapshot("s")?.delete()?;
    for name in ["live", "kept"] {
        match pool.template(name)?.remove() {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed?,
        }
    }
    Ok(())
}

fn only_debian_is_left(environment: &Environment, pool: &Pool, context: &str) {
    assert_eq!(environment.host.leftovers(), Vec::<String>::new(), "{context}");
    let root = environment.directory.path().join("pool");
    for (name, count) in [("volumes", 0), ("snapshots", 0), ("images", 1), ("templates", 1)] {
        assert_eq!(names(&root.join(name)).len(), count, "{context}: {name}");
    }
    assert!(content(pool, environment, "debian") == expected(&[]), "{context}: it was written");
}

/// Makes the `n`-th call fail; returns whether the scenario has that many calls.
fn fails_well(scenario: Scenario, n: u64, failure: Failure) -> bool {
    let context = &format!("{failure:?} at call {n}");
    let fail = |environment: &Environment| {
        let pool = environment.pool();
        environment.host.fail_at(n, failure);
        let outcome = unless_crashed(|| scenario(environment, &pool));
        (environment.host.heal(), outcome)
    };
    let environment = Environment::new();
    let (reached, outcome) = fail(&environment);
    let pool = environment.pool();
    if !reached {
        outcome.expect("no failure, no crash").expect("no failure, no error");
        only_debian_is_left(&environment, &pool, context);
        return false;
    }

    // A restart, after which no call names anything until it is torn down.
    let report = pool.reconcile().expect("reconcile");
    assert_eq!(report.failed, Vec::<String>::new(), "{context}");
    assert!(pool.damage().expect("damage").is_empty(), "{context}");
    // A template that exists is whole; of one that does not, nothing is there.
    let templates = pool.templates().expect("templates");
    for record in templates.iter().filter(|record| record.name != "debian") {
        let found = content(&pool, &environment, &record.name);
        assert!(found == expected(&[1]), "{context}: {}", record.name);
    }
    let mut digests: Vec<&str> = templates.iter().map(|it| it.digest.as_str()).collect();
    let volumes = pool.volumes().expect("volumes");
    digests.extend(volumes.iter().map(|volume| volume.record.digest.as_str()));
    digests.sort();
    digests.dedup();
    assert_eq!(names(&images(&environment)), digests, "{context}");
    tear_down(&pool).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    only_debian_is_left(&environment, &pool, context);

    // The same failure, but without a restart the calls are repeated from the first.
    let environment = Environment::new();
    let _ = fail(&environment);
    let again = environment.pool();
    let repeated = scenario(&environment, &again);
    if cow(&environment, "v").with_file_name("lost-writes").exists() {
        // A sync failed, so what the volume holds is not trusted any more.
        assert_eq!(repeated.expect_err(context).kind(), ErrorKind::Corrupt, "{context}");
        tear_down(&again).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    } else {
        repeated.unwrap_or_else(|error| panic!("{context}: {error:?}"));
    }
    again.reconcile().expect("reconcile");
    only_debian_is_left(&environment, &again, context);
    true
}

fn check(scenario: Scenario) {
    for failure in FAILURES {
        let mut n = 1;
        while fails_well(scenario, n, failure) {
            n += 1;
        }
        assert!(n > 80, "{failure:?}: the scenario has only {n} calls, so it did not run");
    }
}

#[test]
fn commits_survive_failure_at_every_call() {
    check(life);
}

#[test]
fn commits_without_shared_blocks_survive_failure_at_every_call() {
    check(unshared_life);
}
