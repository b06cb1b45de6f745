//! What reconciliation removes, what it keeps, and that a dry run reports the same.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use calf::sys::SnapshotUsage;
use calf::{
    ErrorKind, Key, Losses, Pool, Publish, ReconcileOptions, ReconcileReport, RemovalKind,
    VolumeState,
};
use calf_test_kit::simulated_pool::{Environment, block, mount, publication, spec};

fn options(dry_run: bool, grace: Duration) -> ReconcileOptions {
    ReconcileOptions::default().dry_run(dry_run).grace(grace)
}

/// Reconciles without a grace period. A dry run before must report the same and change nothing.
fn reconcile(pool: &Pool) -> ReconcileReport {
    let dry = pool.reconcile_with(&options(true, Duration::ZERO)).expect("a dry run");
    let again = pool.reconcile_with(&options(true, Duration::ZERO)).expect("a dry run");
    assert_eq!(dry, again, "a dry run changes nothing");
    let report = pool.reconcile_with(&options(false, Duration::ZERO)).expect("reconcile");
    assert_eq!(dry, report);
    assert_eq!(report.failed, Vec::<String>::new());
    report
}

fn kinds(report: &ReconcileReport) -> Vec<RemovalKind> {
    report.removed.iter().map(|removal| removal.kind).collect()
}

/// An inline volume in the directory of a pod.
fn inline(environment: &Environment, id: &str) -> Publish {
    let mut publish = publication(environment, id, mount());
    let pod = environment.path(&format!("pod-{id}"));
    fs::create_dir(&pod).expect("a directory");
    publish.target = pod.join("mount");
    let spec = spec(id).inline(true);
    environment.pool().publish_inline(&spec, &publish).expect("publish");
    publish
}

#[test]
fn an_inline_volume_goes_when_its_pod_is_gone_and_nobody_uses_it() {
    let environment = Environment::new();
    let pool = environment.pool();
    let publish = inline(&environment, "inline");
    let pod = publish.target.parent().expect("a directory").to_owned();
    let device = pool
        .volume("inline")
        .and_then(|volume| volume.status())
        .expect("it is there")
        .device
        .expect("it is active");

    assert!(reconcile(&pool).removed.is_empty(), "its pod is there");
    // The directory vanishes under the mount: the mount stays, and so does the volume.
    fs::remove_dir_all(&pod).expect("a directory");
    assert!(reconcile(&pool).removed.is_empty(), "it is mounted");
    environment.host.reboot();
    environment.host.open(device);
    pool.volume("inline").expect("a volume id").activate().expect("activate");
    assert!(reconcile(&pool).removed.is_empty(), "it is open");
    environment.host.close(device);

    let report = reconcile(&pool);
    assert_eq!(kinds(&report), [RemovalKind::Inline]);
    assert_eq!(report.removed[0].to_string(), "inline volume inline, whose pod is gone");
    assert_eq!(
        pool.volume("inline").and_then(|volume| volume.status()).expect_err("it is gone").kind(),
        ErrorKind::NotFound
    );
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
    assert_eq!(environment.volume_directories(), Vec::<String>::new());
}

#[test]
fn an_inline_volume_has_a_time_of_grace_that_survives_a_restart() {
    let environment = Environment::new();
    let publish = inline(&environment, "inline");
    let pod = publish.target.parent().expect("a directory").to_owned();
    environment.host.reboot();
    fs::remove_file(&publish.target).or_else(|_| fs::remove_dir(&publish.target)).expect("a path");
    fs::remove_dir(&pod).expect("a directory");
    let long = Duration::from_secs(3600);
    for _ in 0..3 {
        let report = environment.pool().reconcile_with(&options(false, long)).expect("reconcile");
        assert!(report.removed.is_empty(), "{report:?}");
    }
    // The pod's directory is back, so the note is removed.
    fs::create_dir(&pod).expect("a directory");
    let none = options(false, Duration::ZERO);
    assert!(environment.pool().reconcile_with(&none).expect("reconcile").removed.is_empty());
    assert_eq!(environment.pool().volumes().expect("a list").len(), 1);
    fs::remove_dir(&pod).expect("a directory");
    let first = environment.pool().reconcile_with(&options(false, long)).expect("reconcile");
    assert!(first.removed.is_empty(), "the grace begins anew");
    let then = environment.pool().reconcile_with(&none).expect("reconcile");
    assert_eq!(kinds(&then), [RemovalKind::Inline]);
}

#[test]
fn other_volumes_do_not_go_with_their_directories() {
    let environment = Environment::new();
    let pool = environment.pool();
    let mut publish = publication(&environment, "volume", block());
    let pod = environment.path("pod");
    fs::create_dir(&pod).expect("a directory");
    publish.target = pod.join("disk");
    pool.create_volume(&spec("volume")).expect("create");
    pool.volume("volume").expect("a volume id").publish(&publish).expect("publish");
    environment.host.reboot();
    fs::remove_dir_all(&pod).expect("a directory");
    assert!(reconcile(&pool).removed.is_empty());
    pool.volume("volume").and_then(|volume| volume.status()).expect("it is there");
}

#[test]
fn a_volume_goes_when_its_time_is_over_and_nobody_uses_it() {
    let environment = Environment::new();
    let pool = environment.pool();
    let short = spec("short").ttl(Duration::from_secs(1));
    let long = spec("long").ttl(Duration::from_secs(3600));
    for spec in [&short, &long, &spec("endless")] {
        pool.create_volume(spec).expect("create");
        pool.create_volume(spec).expect("the same again");
    }
    let other = short.clone().ttl(Duration::from_secs(2));
    assert_eq!(pool.create_volume(&other).expect_err("another").kind(), ErrorKind::AlreadyExists);
    let none = spec("none").ttl(Duration::ZERO);
    assert_eq!(pool.create_volume(&none).expect_err("none").kind(), ErrorKind::InvalidArgument);

    let device = pool.volume("short").expect("a volume id").activate().expect("activate").number();
    environment.host.open(device);
    environment.host.advance(Duration::from_secs(1));
    assert!(reconcile(&pool).removed.is_empty(), "a guest has it open");
    environment.host.close(device);
    let publish = publication(&environment, "short", block());
    pool.volume("short").expect("a volume id").publish(&publish).expect("publish");
    assert!(reconcile(&pool).removed.is_empty(), "it is published");
    pool.volume("short").expect("a volume id").unpublish(&publish.target).expect("unpublish");

    let report = reconcile(&pool);
    assert_eq!(kinds(&report), [RemovalKind::Expired]);
    let ids: Vec<String> =
        pool.volumes().expect("a list").into_iter().map(|v| v.record.id).collect();
    assert_eq!(ids, ["endless", "long"]);
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

/// The clock of a machine is often set some time after its start.
#[test]
fn a_clock_that_is_set_ends_no_life() {
    let environment = Environment::new();
    let pool = environment.pool();
    pool.create_volume(&spec("volume").ttl(Duration::from_secs(7200))).expect("create");
    let directory = environment.directory.path().join("pool/volumes");
    let directory = directory.join(calf::Key::of("volume").as_str());
    // As if it had been made before the clock was set, by the record and by the calendar.
    for (file, key) in [("volume.json", "created"), ("lifetime.json", "at")] {
        let path = directory.join(file);
        let text = fs::read_to_string(&path).expect("a record");
        let mut record: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        record[key] = "1970-01-02T00:00:00Z".into();
        fs::write(&path, record.to_string()).expect("write");
    }
    assert!(reconcile(&pool).removed.is_empty(), "a second old");
    environment.host.reboot();
    assert!(reconcile(&pool).removed.is_empty(), "its calendar was set right in the boot before");
    environment.host.advance(Duration::from_secs(7201));
    assert!(reconcile(&pool).removed.is_empty(), "the calendar counts after a reboot");
    environment.host.reboot();
    pool.create_volume(&spec("second").ttl(Duration::from_secs(7200))).expect("create");
    environment.host.advance(Duration::from_secs(7201));
    assert_eq!(kinds(&reconcile(&pool)), [RemovalKind::Expired], "of this boot");
}

#[test]
fn a_dry_run_tells_the_steps_of_a_repair_and_takes_none() {
    let environment = Environment::new();
    let pool = environment.pool();
    pool.create_volume(&spec("volume")).expect("create");
    pool.volume("volume").expect("a volume id").activate().expect("activate");
    // The state after a crash in the middle of an expansion.
    let id =
        calf::sys::DeviceId::new(pool.id(), &calf::Key::of("volume"), calf::sys::Role::Snapshot);
    use calf::sys::Mapper as _;
    environment.host.suspend(&id, calf::sys::Quiesce::FileSystem).expect("suspend");
    let dry = pool.reconcile_with(&options(true, Duration::ZERO)).expect("a dry run");
    assert_eq!(dry.repaired.len(), 1);
    assert_eq!(dry.repaired[0].steps, ["resume Snapshot"]);
    assert_eq!(
        pool.volume("volume").and_then(|volume| volume.status()).expect("it is there").state,
        VolumeState::Interrupted
    );
    assert_eq!(reconcile(&pool).repaired, dry.repaired);
    assert_eq!(
        pool.volume("volume").and_then(|volume| volume.status()).expect("it is there").state,
        VolumeState::Active
    );
}

#[test]
fn reconciliation_stops_between_two_volumes() {
    let environment = Environment::new();
    let pool = environment.pool();
    let spec = spec("volume").ttl(Duration::from_secs(1));
    pool.create_volume(&spec).expect("create");
    environment.host.advance(Duration::from_secs(1));
    let stop = Arc::new(AtomicBool::new(true));
    let stopped = options(false, Duration::ZERO).cancel(stop.into());
    assert_eq!(pool.reconcile_with(&stopped).expect("it stops"), ReconcileReport::default());
    assert_eq!(kinds(&reconcile(&pool)), [RemovalKind::Expired]);
}

#[test]
fn a_healthy_volume_is_never_locked() {
    let environment = Environment::new();
    let pool = environment.pool();
    pool.create_volume(&spec("volume")).expect("create");
    pool.volume("volume").expect("a volume id").activate().expect("activate");
    let subject = format!("volume/{}", calf::Key::of("volume"));
    let file = environment.directory.path().join("pool/lock");
    let _held = calf::sys::lock::try_lock(&file, &subject, calf::sys::lock::Mode::Exclusive)
        .expect("a lock file")
        .expect("nobody has it");
    assert_eq!(pool.reconcile().expect("reconcile").live, 1, "it was looked at, without the lock");
}

#[test]
fn a_loss_is_told_once() {
    let environment = Environment::new();
    let pool = environment.pool();
    let publish = publication(&environment, "volume", block());
    pool.create_volume(&spec("volume")).expect("create");
    pool.volume("volume").expect("a volume id").publish(&publish).expect("publish");
    let device = pool
        .volume("volume")
        .and_then(|volume| volume.status())
        .expect("it is there")
        .device
        .expect("it is active");
    assert_eq!(pool.losses(), Losses::default());
    environment.host.set_usage(device, SnapshotUsage::Overflow);
    for _ in 0..3 {
        pool.reconcile().expect("reconcile");
        pool.volume("volume")
            .expect("a volume id")
            .statistics(&publish.target)
            .expect("statistics");
        pool.volume("volume").and_then(|volume| volume.status()).expect("it is there");
        assert_eq!(pool.losses(), Losses { invalid: 0, overflow: 1 });
    }
    environment.host.set_usage(device, SnapshotUsage::Invalid);
    for _ in 0..2 {
        pool.volume("volume").and_then(|volume| volume.status()).expect("it is there");
        assert_eq!(pool.losses(), Losses { invalid: 1, overflow: 1 });
    }
    pool.volume("volume").expect("a volume id").unpublish(&publish.target).expect("unpublish");
    pool.volume("volume").expect("a volume id").delete().expect("a lost volume can be deleted");
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

#[test]
fn a_look_at_many_volumes_asks_few_things_of_each() {
    let environment = Environment::new();
    let pool = environment.pool();
    let calls = || {
        let before = environment.host.calls();
        let report = pool.reconcile().expect("reconcile");
        assert!(
            report.repaired.is_empty() && report.removed.is_empty() && report.failed.is_empty()
        );
        (environment.host.calls() - before, report.live)
    };
    let (empty, _) = calls();
    for number in 0..10 {
        pool.create_volume(&spec(&format!("inactive-{number}"))).expect("create");
    }
    let (inactive, live) = calls();
    assert_eq!(live, 0);
    assert_eq!(inactive - empty, 2 * 10, "two for each inactive volume: its directory and record");
    for number in 0..10 {
        pool.volume(&format!("inactive-{number}"))
            .expect("a volume id")
            .activate()
            .expect("activate");
    }
    let (active, live) = calls();
    assert_eq!(live, 10);
    assert_eq!(
        active - inactive,
        3 * 10,
        "three more for each live one: its device, its store and no overlay"
    );
}

#[test]
fn what_a_glance_does_not_show_to_be_well_is_looked_at_closely() {
    let environment = Environment::new();
    let pool = environment.pool();
    pool.create_volume(&spec("volume")).expect("create");
    let device = pool.volume("volume").expect("a volume id").activate().expect("activate").number();
    let volumes = environment.directory.path().join("pool/volumes");
    let store = volumes.join(Key::of("volume").as_str()).join("cow");

    environment.host.set_usage(device, SnapshotUsage::Invalid);
    assert_eq!(pool.reconcile().expect("reconcile").live, 1);
    assert_eq!(pool.losses(), Losses { invalid: 1, overflow: 0 }, "a loss is told");
    let valid = SnapshotUsage::Valid { used: 8192, total: 1 << 20, metadata: 8192 };
    environment.host.set_usage(device, valid);

    let length = fs::metadata(&store).expect("a store").len();
    fs::File::options().write(true).open(&store).and_then(|f| f.set_len(length / 2)).expect("cut");
    let repaired = pool.reconcile().expect("reconcile").repaired;
    assert_eq!(repaired.len(), 1, "a store that is short is extended: {repaired:?}");
    assert_eq!(fs::metadata(&store).expect("a store").len(), length);

    fs::remove_file(&store).expect("a store");
    let failed = pool.reconcile().expect("reconcile").failed;
    assert!(failed.len() == 1 && failed[0].contains("store is missing"), "{failed:?}");
}
