//! The checks of a machine and a pool.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use calf::{Check, Fallback, Verdict};
use calf_test_kit::simulated_pool::{Environment, spec};

fn find<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("{name}: {checks:?}"))
}

#[test]
fn what_a_kernel_lacks_is_a_failure_unless_a_fallback_was_chosen() {
    let environment = Environment::new();
    let root = environment.directory.path().join("pool");
    let snapshot = |fallback| {
        let checks = environment.options().fallback(fallback).doctor(&root);
        find(&checks, "dm snapshot target").clone()
    };
    assert_eq!((snapshot(None).verdict, snapshot(None).help), (Verdict::Ok, None));
    environment.host.without_snapshot(true);
    assert_eq!(snapshot(None).verdict, Verdict::Fail);
    assert!(snapshot(None).help.is_some_and(|help| help.contains("modprobe dm-snapshot")));
    assert_eq!(snapshot(Some(Fallback::Copy)).verdict, Verdict::Warn);
}

#[test]
fn a_pool_is_found_and_its_doors_are_looked_at() {
    let environment = Environment::new();
    let root = environment.directory.path().join("pool");
    let id = environment.pool().id().to_string();
    let checks = environment.options().doctor(&root);
    assert_eq!(find(&checks, "pool").verdict, Verdict::Ok);
    assert!(find(&checks, "pool").detail.contains(&id));
    let before = fs::read_dir(&root).expect("a pool").count();

    fs::set_permissions(&root, Permissions::from_mode(0o755)).expect("permissions");
    let checks = environment.options().doctor(&root);
    let doors = find(&checks, "pool permissions");
    assert_eq!(doors.verdict, Verdict::Fail);
    assert!(doors.detail.contains("mode 0755"), "{doors:?}");
    assert_eq!(fs::read_dir(&root).expect("a pool").count(), before, "trials are undone");

    let greedy = environment.options().reserve(u64::MAX).doctor(&root);
    assert_eq!(find(&greedy, "free space").verdict, Verdict::Fail);
    let nowhere = environment.options().doctor(root.join("none"));
    assert_eq!(find(&nowhere, "pool").verdict, Verdict::Warn);
    assert!(nowhere.iter().all(|check| check.name != "pool permissions"), "{nowhere:?}");
}

#[test]
fn what_smaller_copy_buffers_would_save_is_told_and_they_change_on_request_alone() {
    let environment = Environment::new();
    let root = environment.directory.path().join("pool");
    let told = || {
        let checks = environment.options().doctor(&root);
        let check = find(&checks, "dm copy buffers");
        assert_eq!((check.verdict, &check.help), (Verdict::Ok, &None));
        check.detail.clone()
    };
    let pool = environment.pool();
    pool.create_volume(&spec("volume")).expect("create");
    pool.volume("volume").and_then(|volume| volume.activate()).expect("activate");
    assert!(
        told().starts_with("512 KiB of kernel memory for each volume; `calf serve"),
        "{}",
        told()
    );
    assert!(told().contains("would save 448 KiB"), "{}", told());
    pool.set_copy_buffer(64 << 10).expect("a new size");
    assert_eq!(told(), "64 KiB of kernel memory for each volume");
    environment.host.without_snapshot(true);
    let copies = environment.options().fallback(Some(Fallback::Copy)).open(&root).expect("a pool");
    copies.set_copy_buffer(4 << 10).expect("nothing to do");
    assert_eq!(told(), "64 KiB of kernel memory for each volume");
}
