//! The engine's promises about volumes, on a simulated machine.

use std::fs;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use calf::sys::{DeviceNumber, Mounts as _, SnapshotUsage, Target, lock};
use calf::{Access, Durability, ErrorKind, Fallback, VolumeSpec, VolumeState};
use calf_test_kit::simulated_pool::{Environment, TEMPLATE_SIZE, block, mount, publication, spec};

fn kind<T: std::fmt::Debug>(result: calf::Result<T>) -> ErrorKind {
    result.expect_err("an error").kind()
}

#[test]
fn every_call_may_be_repeated() {
    let environment = Environment::new();
    let pool = environment.pool();
    for access in [block(), mount()] {
        let publish = publication(&environment, "volume", access);
        let create = || pool.create_volume(&spec("volume")).and_then(|volume| volume.status());
        let volume = create().expect("create");
        assert_eq!(volume.record.size, TEMPLATE_SIZE);
        assert_eq!(create().expect("again").record, volume.record);
        for _ in 0..2 {
            pool.volume("volume").expect("a volume id").stage(&publish.stage).expect("stage");
        }
        for _ in 0..2 {
            pool.volume("volume").expect("a volume id").publish(&publish).expect("publish");
        }
        for _ in 0..2 {
            pool.volume("volume")
                .expect("a volume id")
                .unpublish(&publish.target)
                .expect("unpublish");
        }
        assert!(!publish.target.exists(), "the driver removes the target");
        for _ in 0..2 {
            pool.volume("volume")
                .expect("a volume id")
                .unstage(&publish.stage.path)
                .expect("unstage");
        }
        for _ in 0..2 {
            pool.volume("volume").expect("a volume id").delete().expect("delete");
        }
        assert_eq!(environment.host.leftovers(), Vec::<String>::new());
        assert_eq!(environment.volume_directories(), Vec::<String>::new());
    }
}

#[test]
fn another_shape_under_the_same_name_is_refused() {
    let environment = Environment::new();
    environment.import("alpine", 1);
    let pool = environment.pool();
    pool.create_volume(&spec("volume")).expect("create");
    let changes: [fn(&mut VolumeSpec); 6] = [
        |spec| spec.template = "alpine".to_owned(),
        |spec| spec.size = Some(2 * TEMPLATE_SIZE),
        |spec| spec.cow_limit = Some(1 << 16),
        |spec| spec.chunk_size = 8192,
        |spec| spec.durability = Durability::Durable,
        |spec| spec.owner.uid = 1000,
    ];
    for change in changes {
        let mut other = spec("volume");
        change(&mut other);
        let error = pool.create_volume(&other).expect_err("another shape");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error:?}");
    }
}

#[test]
fn bad_specs_are_refused_with_the_right_kind() {
    let environment = Environment::new();
    let pool = environment.pool();
    let create = |change: fn(&mut VolumeSpec)| {
        let mut spec = spec("volume");
        change(&mut spec);
        kind(pool.create_volume(&spec))
    };
    assert_eq!(create(|s| s.id.clear()), ErrorKind::InvalidArgument);
    assert_eq!(create(|s| s.id = "x".repeat(129)), ErrorKind::InvalidArgument);
    assert_eq!(create(|s| s.id = "a\nb".to_owned()), ErrorKind::InvalidArgument);
    assert_eq!(create(|s| s.chunk_size = 3000), ErrorKind::InvalidArgument);
    assert_eq!(create(|s| s.chunk_size = 2 << 20), ErrorKind::InvalidArgument);
    assert_eq!(create(|s| s.cow_limit = Some(1)), ErrorKind::InvalidArgument);
    assert_eq!(create(|s| s.owner.mode = 0o4755), ErrorKind::InvalidArgument);
    assert_eq!(create(|s| s.owner.uid = u32::MAX), ErrorKind::InvalidArgument);
    assert_eq!(create(|s| s.owner.gid = u32::MAX), ErrorKind::InvalidArgument);
    assert_eq!(create(|s| s.size = Some(TEMPLATE_SIZE + 1)), ErrorKind::InvalidArgument);
    assert_eq!(create(|s| s.size = Some(TEMPLATE_SIZE / 2)), ErrorKind::OutOfRange);
    assert_eq!(create(|s| s.size = Some(1 << 60)), ErrorKind::OutOfRange);
    assert_eq!(create(|s| s.template = "missing".to_owned()), ErrorKind::NotFound);
    environment.host.set_free(0);
    assert_eq!(create(|_| ()), ErrorKind::NoSpace);
    assert_eq!(environment.volume_directories(), Vec::<String>::new());
}

#[test]
fn an_unknown_volume_is_not_found_or_already_gone() {
    let environment = Environment::new();
    let pool = environment.pool();
    let publish = publication(&environment, "volume", block());
    assert_eq!(kind(pool.volume("volume").and_then(|volume| volume.status())), ErrorKind::NotFound);
    assert_eq!(
        kind(pool.volume("volume").and_then(|volume| volume.stage(&publish.stage))),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(pool.volume("volume").and_then(|volume| volume.publish(&publish))),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(pool.volume("volume").and_then(|volume| volume.expand(TEMPLATE_SIZE))),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(pool.volume("volume").and_then(|volume| volume.statistics(&publish.target))),
        ErrorKind::NotFound
    );
    pool.volume("volume").expect("a volume id").unpublish(&publish.target).expect("unpublish");
    pool.volume("volume").expect("a volume id").unstage(&publish.stage.path).expect("unstage");
    pool.volume("volume").expect("a volume id").delete().expect("delete");
}

#[test]
fn a_reboot_is_healed_by_publish_alone() {
    for access in [block(), mount()] {
        let environment = Environment::new();
        let pool = environment.pool();
        let publish = publication(&environment, "volume", access);
        pool.create_volume(&spec("volume")).expect("create");
        pool.volume("volume").expect("a volume id").stage(&publish.stage).expect("stage");
        pool.volume("volume").expect("a volume id").publish(&publish).expect("publish");
        environment.host.reboot();
        // The plain file or directory that was the target still exists, as does the staging
        // directory; kubelet publishes again without staging.
        assert!(publish.target.exists());
        let pool = environment.pool();
        pool.reconcile().expect("reconcile");
        pool.volume("volume")
            .expect("a volume id")
            .publish(&publish)
            .expect("publish after the reboot");
        assert_eq!(
            pool.volume("volume").and_then(|volume| volume.status()).expect("it is there").state,
            VolumeState::Active
        );
        pool.volume("volume").expect("a volume id").unpublish(&publish.target).expect("unpublish");
        pool.volume("volume").expect("a volume id").unstage(&publish.stage.path).expect("unstage");
        pool.volume("volume").expect("a volume id").delete().expect("delete");
        assert_eq!(environment.host.leftovers(), Vec::<String>::new());
    }
}

#[test]
fn readers_get_a_device_of_their_own() {
    let environment = Environment::new();
    let pool = environment.pool();
    let mut reader = publication(&environment, "volume", block());
    reader.read_only = true;
    let mut writer = publication(&environment, "volume", block());
    writer.target = environment.path("writer");
    pool.create_volume(&spec("volume")).expect("create");
    pool.volume("volume").expect("a volume id").publish(&reader).expect("publish for reading");
    pool.volume("volume").expect("a volume id").publish(&writer).expect("publish for writing");
    let names: Vec<String> = environment.host.sizes().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 2);
    assert!(names.iter().any(|name| name.ends_with("-ro")), "{names:?}");
    // The same target with the other kind of access is a different publication.
    writer.target.clone_from(&reader.target);
    assert_eq!(
        kind(pool.volume("volume").and_then(|volume| volume.publish(&writer))),
        ErrorKind::AlreadyExists
    );
    pool.volume("volume").expect("a volume id").expand(3 * TEMPLATE_SIZE).expect("expand");
    assert!(environment.host.sizes().iter().all(|(_, size)| *size == 3 * TEMPLATE_SIZE));
}

#[test]
fn a_device_tells_whose_it_is() {
    let environment = Environment::new();
    environment.host.without_snapshot(true);
    let fallback = environment.options().fallback(Some(Fallback::Copy));
    let copies = fallback.open(environment.directory.path().join("pool")).expect("a pool");
    let copy = copies.create_volume(&spec("copy")).expect("create");
    let loop_device = copy.activate().expect("activate").number();
    environment.host.without_snapshot(false);

    let pool = environment.pool();
    for id in ["one", "two"] {
        pool.create_volume(&spec(id)).expect("create");
    }
    let (one, two) = (
        pool.volume("one").expect("a volume id").activate().expect("activate").number(),
        pool.volume("two").expect("a volume id").activate().expect("activate").number(),
    );
    let mut reader = publication(&environment, "one", block());
    reader.read_only = true;
    pool.volume("one").expect("a volume id").publish(&reader).expect("publish");
    let view = match environment.host.target(&reader.target).expect("a target") {
        Target::Node { device } => device,
        other => panic!("{other:?}"),
    };
    assert_ne!(view, one);
    for (number, id) in [(one, "one"), (two, "two"), (view, "one"), (loop_device, "copy")] {
        let volume = pool.volume_of_device(number).expect("an answer").expect("a volume");
        assert_eq!(volume.id(), id);
    }
    let unknown = DeviceNumber { major: 8, minor: 1 };
    assert!(pool.volume_of_device(unknown).expect("an answer").is_none());
    let elsewhere = environment.options().open(environment.directory.path().join("other"));
    let elsewhere = elsewhere.expect("a pool").volume_of_device(one).expect("an answer");
    assert!(elsewhere.is_none(), "another pool's device is not this one's");
}

#[test]
fn a_single_writer_has_one_target() {
    let environment = Environment::new();
    let pool = environment.pool();
    let mut publish = publication(&environment, "volume", block());
    publish.exclusive = true;
    pool.create_volume(&spec("volume")).expect("create");
    pool.volume("volume").expect("a volume id").publish(&publish).expect("publish");
    pool.volume("volume").expect("a volume id").publish(&publish).expect("publish again");
    publish.target = environment.path("elsewhere");
    assert_eq!(
        kind(pool.volume("volume").and_then(|volume| volume.publish(&publish))),
        ErrorKind::InUse
    );
    assert!(!publish.target.exists());
}

#[test]
fn a_busy_device_is_named_with_its_holder_and_goes_once_it_is_free() {
    let environment = Environment::new();
    let pool = environment.pool();
    pool.create_volume(&spec("volume")).expect("create");
    let device = pool.volume("volume").expect("a volume id").activate().expect("activate").number();
    environment.host.open(device);
    let error = pool
        .volume("volume")
        .and_then(|volume| volume.deactivate())
        .expect_err("the guest holds it");
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(error.report().contains("process 1 (guest)"), "{}", error.report());
    environment.host.close(device);
    pool.volume("volume").expect("a volume id").deactivate().expect("deactivate");
    assert_eq!(
        pool.volume("volume").and_then(|volume| volume.status()).expect("it is there").state,
        VolumeState::Inactive
    );
}

#[test]
fn a_published_volume_is_not_taken_away() {
    let environment = Environment::new();
    let pool = environment.pool();
    let publish = publication(&environment, "volume", block());
    pool.create_volume(&spec("volume")).expect("create");
    pool.volume("volume").expect("a volume id").publish(&publish).expect("publish");
    for result in [
        pool.volume("volume").and_then(|volume| volume.delete()),
        pool.volume("volume").and_then(|volume| volume.deactivate()),
        pool.volume("volume").and_then(|volume| volume.unstage(&publish.stage.path)),
    ] {
        let error = result.expect_err("it is published");
        assert_eq!(error.kind(), ErrorKind::InUse);
        assert!(error.report().contains("volume-target"), "{}", error.report());
    }
}

#[test]
fn the_orchestrators_directory_may_be_a_symlink() {
    let environment = Environment::new();
    let pool = environment.pool();
    let real = environment.path("").parent().expect("a parent").to_owned();
    let link = real.join("link");
    std::os::unix::fs::symlink("kubelet", &link).expect("a symlink");
    for access in [block(), mount()] {
        let mut publish = publication(&environment, "volume", access);
        publish.target = link.join("target");
        publish.stage.path = link.join("staging");
        publish.exclusive = true;
        pool.create_volume(&spec("volume")).expect("create");
        for _ in 0..2 {
            pool.volume("volume").expect("a volume id").stage(&publish.stage).expect("stage");
            pool.volume("volume").expect("a volume id").publish(&publish).expect("publish");
        }
        pool.volume("volume").expect("a volume id").unpublish(&publish.target).expect("unpublish");
        pool.volume("volume").expect("a volume id").unstage(&publish.stage.path).expect("unstage");
        pool.volume("volume").expect("a volume id").delete().expect("delete");
    }
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

#[test]
fn a_foreign_mount_at_the_target_is_left_alone() {
    let environment = Environment::new();
    let pool = environment.pool();
    let first = publication(&environment, "first", mount());
    let mut second = publication(&environment, "second", mount());
    second.target.clone_from(&first.target);
    for id in ["first", "second"] {
        pool.create_volume(&spec(id)).expect("create");
    }
    pool.volume("first").expect("a volume id").publish(&first).expect("publish");
    assert_eq!(
        kind(pool.volume("second").and_then(|volume| volume.publish(&second))),
        ErrorKind::AlreadyExists
    );
    assert_eq!(
        kind(pool.volume("second").and_then(|volume| volume.unpublish(&first.target))),
        ErrorKind::InUse
    );
    pool.volume("first")
        .expect("a volume id")
        .statistics(&first.target)
        .expect("it is still there");
    assert_eq!(
        kind(pool.volume("second").and_then(|volume| volume.statistics(&first.target))),
        ErrorKind::NotFound
    );
}

#[test]
fn a_file_with_content_at_the_target_is_kept() {
    let environment = Environment::new();
    let pool = environment.pool();
    let publish = publication(&environment, "volume", mount());
    fs::write(&publish.target, "precious").expect("a file");
    pool.create_volume(&spec("volume")).expect("create");
    assert_eq!(
        kind(pool.volume("volume").and_then(|volume| volume.publish(&publish))),
        ErrorKind::AlreadyExists
    );
    assert_eq!(fs::read(&publish.target).expect("it is there"), b"precious");
}

#[test]
fn the_file_system_must_be_the_templates() {
    let environment = Environment::new();
    let pool = environment.pool();
    pool.create_volume(&spec("volume")).expect("create");
    let with =
        |fs_type: &str| Access::Mount { fs_type: Some(fs_type.to_owned()), options: Vec::new() };
    let stage = |fs_type| {
        pool.volume("volume").and_then(|volume| {
            volume.stage(&publication(&environment, "volume", with(fs_type)).stage)
        })
    };
    assert_eq!(kind(stage("xfs")), ErrorKind::InvalidArgument);
    assert_eq!(
        pool.volume("volume").and_then(|volume| volume.status()).expect("it is there").state,
        VolumeState::Inactive
    );
    stage("ext4").expect("stage");
}

#[test]
fn an_inline_volume_lives_with_its_publication() {
    let environment = Environment::new();
    let pool = environment.pool();
    let publish = publication(&environment, "inline", mount());
    let mut spec = spec("inline");
    spec.inline = true;
    for _ in 0..2 {
        pool.publish_inline(&spec, &publish).expect("publish");
    }
    pool.volume("inline").expect("a volume id").statistics(&publish.target).expect("statistics");
    for _ in 0..2 {
        pool.volume("inline").expect("a volume id").unpublish(&publish.target).expect("unpublish");
    }
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
    assert_eq!(environment.volume_directories(), Vec::<String>::new());

    // A final error must leave nothing that only an Unpublish would remove.
    fs::write(&publish.target, "in the way").expect("a file");
    assert_eq!(kind(pool.publish_inline(&spec, &publish)), ErrorKind::AlreadyExists);
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
    assert_eq!(environment.volume_directories(), Vec::<String>::new());
}

#[test]
fn the_mount_option_ro_is_reading_only_and_may_be_repeated() {
    let environment = Environment::new();
    let pool = environment.pool();
    pool.create_volume(&spec("volume")).expect("create");
    let access = Access::Mount { fs_type: None, options: vec!["ro".to_owned()] };
    let publish = publication(&environment, "volume", access);
    for _ in 0..2 {
        pool.volume("volume").expect("a volume id").stage(&publish.stage).expect("stage");
        pool.volume("volume").expect("a volume id").publish(&publish).expect("publish");
    }
    let names: Vec<String> = environment.host.sizes().into_iter().map(|(name, _)| name).collect();
    assert!(names.iter().any(|name| name.ends_with("-ro")), "{names:?}");
    pool.volume("volume").expect("a volume id").unpublish(&publish.target).expect("unpublish");
    pool.volume("volume").expect("a volume id").unstage(&publish.stage.path).expect("unstage");
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

#[test]
fn an_inline_volume_of_a_call_that_was_cut_short_goes_with_the_next_failure() {
    let environment = Environment::new();
    let pool = environment.pool();
    let publish = publication(&environment, "inline", mount());
    let mut spec = spec("inline");
    spec.inline = true;
    // The state after a crash between creation and mount.
    pool.create_volume(&spec).expect("create");
    fs::write(&publish.target, "in the way").expect("a file");
    assert_eq!(kind(pool.publish_inline(&spec, &publish)), ErrorKind::AlreadyExists);
    assert_eq!(environment.volume_directories(), Vec::<String>::new());

    // A published volume is not touched.
    fs::remove_file(&publish.target).expect("the file");
    pool.publish_inline(&spec, &publish).expect("publish");
    let mut other = publish.clone();
    other.target = environment.path("other");
    fs::write(&other.target, "in the way").expect("a file");
    assert_eq!(kind(pool.publish_inline(&spec, &other)), ErrorKind::AlreadyExists);
    pool.volume("inline")
        .expect("a volume id")
        .statistics(&publish.target)
        .expect("it is still there");
}

#[test]
fn a_name_moves_on_and_volumes_keep_what_they_started_from() {
    let environment = Environment::new();
    let pool = environment.pool();
    let old = pool
        .create_volume(&spec("old"))
        .and_then(|volume| volume.status())
        .expect("create")
        .record
        .digest;
    pool.volume("old").expect("a volume id").activate().expect("activate");
    environment.import("debian", 2);
    let new = pool
        .create_volume(&spec("new"))
        .and_then(|volume| volume.status())
        .expect("create")
        .record
        .digest;
    assert_ne!(old, new);
    assert_eq!(
        pool.create_volume(&spec("old"))
            .and_then(|volume| volume.status())
            .expect("again")
            .record
            .digest,
        old
    );
    let images = || fs::read_dir(pool.root().join("images")).expect("images").count();
    assert_eq!(images(), 2);
    assert_eq!(
        kind(pool.template("debian").and_then(|template| template.remove())),
        ErrorKind::InUse
    );
    pool.volume("old").expect("a volume id").delete().expect("delete");
    assert_eq!(images(), 1, "content without a name goes with its last volume");
    pool.volume("new").expect("a volume id").delete().expect("delete");
    pool.template("debian").expect("a template name").remove().expect("remove");
    assert_eq!(images(), 0);
}

#[test]
fn all_volumes_of_a_template_share_one_origin() {
    let environment = Environment::new();
    for (n, size) in [TEMPLATE_SIZE, 3 * TEMPLATE_SIZE, 2 * TEMPLATE_SIZE].into_iter().enumerate() {
        // Each call comes from a new process.
        let pool = environment.pool();
        let mut spec = spec(&format!("volume-{n}"));
        spec.size = Some(size);
        pool.create_volume(&spec).expect("create");
        pool.volume(&spec.id).expect("a volume id").activate().expect("activate");
    }
    let loops = environment.host.leftovers();
    assert_eq!(loops.iter().filter(|what| what.ends_with("/image")).count(), 1, "{loops:?}");
    for n in 0..3 {
        environment
            .pool()
            .volume(&format!("volume-{n}"))
            .expect("a volume id")
            .delete()
            .expect("delete");
    }
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

#[test]
fn what_the_kernel_gave_up_is_reported_and_can_be_deleted() {
    let environment = Environment::new();
    let pool = environment.pool();
    let publish = publication(&environment, "volume", block());
    for (usage, state) in [
        (SnapshotUsage::Invalid, VolumeState::Invalid),
        (SnapshotUsage::Overflow, VolumeState::Overflow),
    ] {
        pool.create_volume(&spec("volume")).expect("create");
        pool.volume("volume").expect("a volume id").publish(&publish).expect("publish");
        let device = pool
            .volume("volume")
            .and_then(|volume| volume.status())
            .expect("it is there")
            .device
            .expect("active");
        environment.host.set_usage(device, usage);
        let statistics = pool
            .volume("volume")
            .expect("a volume id")
            .statistics(&publish.target)
            .expect("statistics");
        assert_eq!(statistics.volume.state, state);
        assert_eq!(
            kind(pool.volume("volume").and_then(|volume| volume.expand(9 * TEMPLATE_SIZE))),
            ErrorKind::NoSpace
        );
        pool.reconcile().expect("reconcile");
        assert_eq!(
            pool.volume("volume").and_then(|volume| volume.status()).expect("it is there").state,
            state
        );
        pool.volume("volume").expect("a volume id").unpublish(&publish.target).expect("unpublish");
        pool.volume("volume").expect("a volume id").delete().expect("delete");
    }
}

#[test]
fn without_dm_snapshot_only_an_explicit_fallback_makes_volumes() {
    let environment = Environment::new();
    environment.host.without_snapshot(true);
    let error = environment.pool().create_volume(&spec("volume")).expect_err("no dm-snapshot");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.report().contains("modprobe dm-snapshot"), "{}", error.report());

    let root = environment.directory.path().join("pool");
    let pool = environment.options().fallback(Some(Fallback::Copy)).open(root).expect("a pool");
    let mut publish = publication(&environment, "volume", block());
    publish.read_only = true;
    pool.create_volume(&spec("volume")).expect("create");
    pool.volume("volume").expect("a volume id").publish(&publish).expect("publish");
    pool.volume("volume").expect("a volume id").statistics(&publish.target).expect("statistics");
    pool.volume("volume").expect("a volume id").expand(2 * TEMPLATE_SIZE).expect("expand");
    pool.volume("volume").expect("a volume id").unpublish(&publish.target).expect("unpublish");
    pool.volume("volume").expect("a volume id").unstage(&publish.stage.path).expect("unstage");
    pool.volume("volume").expect("a volume id").delete().expect("delete");
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

#[test]
fn identical_creations_at_once_wait_for_each_other() {
    let environment = Environment::new();
    let pool = environment.pool();
    let barrier = Barrier::new(32);
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                barrier.wait();
                pool.create_volume(&spec("volume")).expect("create");
            });
        }
    });
    assert_eq!(environment.volume_directories().len(), 1);
}

#[test]
fn of_two_calls_for_one_volume_one_is_told_to_come_back() {
    let environment = Environment::new();
    let pool = environment.pool();
    pool.create_volume(&spec("volume")).expect("create");
    let (done, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..20 {
                    match pool.volume("volume").and_then(|volume| volume.activate()) {
                        Ok(_) => done.fetch_add(1, Ordering::Relaxed),
                        Err(e) if e.kind() == ErrorKind::InProgress => {
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                        Err(error) => panic!("{error:?}"),
                    };
                }
            });
        }
    });
    assert!(done.load(Ordering::Relaxed) > 0);
    assert_eq!(done.load(Ordering::Relaxed) + refused.load(Ordering::Relaxed), 160);
}

#[test]
fn different_volumes_live_side_by_side() {
    let environment = Environment::new();
    let pool = environment.pool();
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let (environment, pool) = (&environment, &pool);
            scope.spawn(move || {
                let id = format!("volume-{worker}");
                let publish = publication(environment, &id, block());
                for _ in 0..10 {
                    pool.create_volume(&spec(&id)).expect("create");
                    pool.volume(&id).expect("a volume id").stage(&publish.stage).expect("stage");
                    pool.volume(&id).expect("a volume id").publish(&publish).expect("publish");
                    pool.volume(&id)
                        .expect("a volume id")
                        .unpublish(&publish.target)
                        .expect("unpublish");
                    pool.volume(&id)
                        .expect("a volume id")
                        .unstage(&publish.stage.path)
                        .expect("unstage");
                    pool.volume(&id).expect("a volume id").delete().expect("delete");
                }
            });
        }
    });
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

/// Simulates that the name moves, and its content is removed, right after a creation has read the
/// name.
#[test]
fn a_creation_starts_from_where_the_name_has_moved_meanwhile() {
    let environment = Environment::new();
    environment.import("new", 1);
    let pool = environment.pool();
    let [old, new] = ["debian", "new"].map(|name| {
        pool.template(name).and_then(|template| template.record()).expect("there").digest
    });
    let subject = format!("image/{old}");
    let held = lock::lock(&pool.root().join("lock"), &subject, lock::Mode::Exclusive);
    std::thread::scope(|scope| {
        let creation = scope.spawn(|| pool.create_volume(&spec("volume")));
        std::thread::sleep(Duration::from_millis(100));
        let templates = pool.root().join("templates");
        let record = fs::read_to_string(templates.join("new.json")).expect("a record");
        let record = record.replace("\"name\": \"new\"", "\"name\": \"debian\"");
        fs::write(templates.join("debian.json"), record).expect("a record");
        fs::remove_dir_all(pool.root().join("images").join(old.as_str())).expect("the content");
        drop(held);
        assert_eq!(
            creation
                .join()
                .expect("no panic")
                .and_then(|volume| volume.status())
                .expect("create")
                .record
                .digest,
            new
        );
    });
}

#[test]
fn a_stranger_directory_or_a_newer_pool_is_refused() {
    let environment = Environment::new();
    let stranger = environment.directory.path().join("stranger");
    fs::create_dir(&stranger).expect("a directory");
    fs::write(stranger.join("thesis.txt"), "precious").expect("a file");
    assert_eq!(kind(environment.options().open(&stranger).map(drop)), ErrorKind::InvalidArgument);
    assert_eq!(fs::read_dir(&stranger).expect("a directory").count(), 1);

    let root = environment.directory.path().join("pool");
    let record = fs::read_to_string(root.join("pool.json")).expect("a record");
    fs::write(root.join("pool.json"), record.replace("\"format\": 1", "\"format\": 99"))
        .expect("a record");
    assert_eq!(kind(environment.options().open(&root).map(drop)), ErrorKind::Unsupported);
}
