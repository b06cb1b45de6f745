//! Volumes that something keeps: a file system that somebody froze, a process that works in it.

use std::fs;
use std::time::Duration;

use calf::sys::{DeviceNumber, Mounts as _};
use calf::{ErrorKind, Pool, Publish, ReconcileOptions, RemovalKind};
use calf_test_kit::simulated_pool::{Environment, mount, publication, spec};

/// A volume that is staged and published, and its device.
fn published(environment: &Environment, pool: &Pool) -> (Publish, DeviceNumber) {
    let publish = publication(environment, "volume", mount());
    pool.create_volume(&spec("volume")).expect("create");
    let volume = pool.volume("volume").expect("a volume id");
    volume.stage(&publish.stage).expect("stage");
    volume.publish(&publish).expect("publish");
    let device = volume.status().expect("a status").device.expect("a device");
    (publish, device)
}

#[test]
fn a_frozen_file_system_is_thawed_once_nobody_has_it_mounted() {
    let environment = Environment::new();
    let pool = environment.pool();
    let (publish, device) = published(&environment, &pool);
    environment.host.freeze(device);
    let volume = pool.volume("volume").expect("a volume id");
    volume.unpublish(&publish.target).expect("unpublish");
    assert!(environment.host.is_frozen(device), "whoever froze it may still use it");
    volume.unstage(&publish.stage.path).expect("unstage");
    volume.delete().expect("delete");
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

#[test]
fn a_frozen_file_system_that_was_unmounted_by_others_is_thawed_by_each_call() {
    type Call = fn(&Pool, &Publish) -> calf::Result<()>;
    let calls: [(&str, Call); 4] = [
        ("unstage", |pool, publish| pool.volume("volume")?.unstage(&publish.stage.path)),
        ("deactivate", |pool, _| pool.volume("volume")?.deactivate()),
        ("delete", |pool, _| pool.volume("volume")?.delete()),
        ("stage", |pool, publish| pool.volume("volume")?.stage(&publish.stage)),
    ];
    for (name, call) in calls {
        let environment = Environment::new();
        let pool = environment.pool();
        let (publish, device) = published(&environment, &pool);
        environment.host.freeze(device);
        for path in [&publish.target, &publish.stage.path] {
            environment.host.unmount(path).expect("unmount");
        }
        call(&pool, &publish).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert!(!environment.host.is_frozen(device), "{name}");
        let volume = pool.volume("volume").expect("a volume id");
        volume.unstage(&publish.stage.path).expect("unstage");
        volume.delete().expect("delete");
        assert_eq!(environment.host.leftovers(), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_frozen_file_system_is_not_shown_to_the_next_pod() {
    let environment = Environment::new();
    let pool = environment.pool();
    let (publish, device) = published(&environment, &pool);
    environment.host.freeze(device);
    let volume = pool.volume("volume").expect("a volume id");
    for result in [volume.stage(&publish.stage), volume.publish(&publish)] {
        assert_eq!(result.expect_err("it is frozen").kind(), ErrorKind::InUse);
    }
    assert!(environment.host.is_frozen(device));
}

#[test]
fn an_inline_volume_goes_although_its_file_system_is_frozen() {
    let environment = Environment::new();
    let pool = environment.pool();
    fs::create_dir(environment.path("pod")).expect("a directory");
    let mut publish = publication(&environment, "inline", mount());
    publish.target = environment.path("pod/target");
    let inline = |id| {
        let spec = spec(id).inline(true);
        pool.publish_inline(&spec, &publish).expect("publish");
        let volume = pool.volume(id).expect("a volume id");
        let device = volume.status().expect("a status").device.expect("a device");
        environment.host.freeze(device);
        volume
    };
    inline("called").unpublish(&publish.target).expect("unpublish");
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());

    // Its pod is gone, and with the pod the mount: reconciliation finds it unused.
    inline("forgotten");
    environment.host.unmount(&publish.target).expect("unmount");
    fs::remove_dir_all(environment.path("pod")).expect("removed");
    let mut options = ReconcileOptions::default().grace(Duration::ZERO);
    options.dry_run = true;
    pool.reconcile_with(&options).expect("a report");
    assert_ne!(environment.host.leftovers(), Vec::<String>::new());
    options.dry_run = false;
    let report = pool.reconcile_with(&options).expect("a report");
    assert!(report.removed.iter().any(|it| it.kind == RemovalKind::Inline), "{report:?}");
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

#[test]
fn a_busy_mount_is_told_with_the_process_and_the_volumes_id() {
    let environment = Environment::new();
    let pool = environment.pool();
    let (publish, device) = published(&environment, &pool);
    let volume = pool.volume("volume").expect("a volume id");
    let key = calf::Key::of("volume").to_string();
    let check = |error: calf::Error, words: &[&str]| {
        assert_eq!(error.kind(), ErrorKind::InUse);
        for word in words {
            assert!(error.report().contains(word), "{word}: {}", error.report());
        }
    };
    environment.host.occupy(&publish.target);
    let target = publish.target.display().to_string();
    let held = format!("held by process 1 (guest), whose working directory is {target};");
    let error = volume.unpublish(&publish.target).expect_err("a process is in it");
    check(error, &["cannot unmount volume volume:", &held]);
    environment.host.leave(&publish.target);
    volume.unpublish(&publish.target).expect("unpublish");

    // The staging is gone, and the device is still open.
    environment.host.open(device);
    for _ in 0..2 {
        let error = volume.unstage(&publish.stage.path).expect_err("the device is open");
        let story = error.story();
        assert!(!story.split(": ").next().unwrap_or_default().contains(&key), "{story}");
        check(error, &["cannot take down volume volume:", "held by process 1 (guest);"]);
    }
    environment.host.close(device);
    volume.unstage(&publish.stage.path).expect("unstage");
}
