//! Where a volume may be staged: at one path, whose directories may be missing.

use std::fs;

use calf::sys::Mounts as _;
use calf::{Access, ErrorKind, Publish, Stage, Volume, VolumeState};
use calf_test_kit::simulated_pool::{Environment, block, mount, publication, spec};

/// A new volume, and a publication of it.
fn volume(environment: &Environment, access: Access) -> (Volume, Publish) {
    let volume = environment.pool().create_volume(&spec("volume")).expect("create");
    (volume, publication(environment, "volume", access))
}

fn state(volume: &Volume) -> VolumeState {
    volume.status().expect("a status").state
}

#[test]
fn a_second_staging_path_is_refused_and_the_first_is_undone_alone() {
    let environment = Environment::new();
    let (volume, publish) = volume(&environment, mount());
    let second = Stage::new(environment.path("second"), mount());
    volume.stage(&publish.stage).expect("stage");
    let elsewhere = Publish::new(environment.path("elsewhere"), second.clone());
    for refused in [volume.stage(&second), volume.publish(&elsewhere)] {
        let error = refused.expect_err("it is staged");
        assert_eq!(error.kind(), ErrorKind::InUse);
        assert!(error.report().contains(&publish.stage.path.display().to_string()), "{error:?}");
        assert!(!second.path.exists() && !elsewhere.target.exists(), "nothing of it stays");
    }

    // Unstaging where it is not staged does nothing, as CSI requires.
    volume.publish(&publish).expect("publish");
    for unstaged in [&second.path, &elsewhere.target] {
        volume.unstage(unstaged).expect("nothing to do");
        assert_eq!(state(&volume), VolumeState::Active);
    }
    assert_eq!(volume.unstage(&publish.stage.path).unwrap_err().kind(), ErrorKind::InUse);
    let error = volume.delete_inactive().expect_err("it is staged");
    assert!(error.report().contains(&publish.stage.path.display().to_string()), "{error:?}");

    volume.unpublish(&publish.target).expect("unpublish");
    volume.unstage(&publish.stage.path).expect("unstage");
    volume.stage(&second).expect("at another path, once it is free");
    volume.unstage(&second.path).expect("unstage");
    volume.delete_inactive().expect("delete");
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

#[test]
fn a_path_that_was_never_staged_is_staged_by_publish_and_is_the_only_one_then() {
    let environment = Environment::new();
    let (volume, publish) = volume(&environment, mount());
    volume.publish(&publish).expect("publish, as after a reboot");
    let second = Stage::new(environment.path("second"), mount());
    assert_eq!(volume.stage(&second).unwrap_err().kind(), ErrorKind::InUse);
    volume.unpublish(&publish.target).expect("unpublish");
    volume.unstage(&publish.stage.path).expect("unstage");
    volume.delete_inactive().expect("delete");
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

/// A block volume has nothing at its staging path, so each of two is undone by itself.
#[test]
fn two_staging_paths_of_a_block_volume_do_not_hinder_each_other() {
    for first in [0, 1] {
        let environment = Environment::new();
        let (volume, publish) = volume(&environment, block());
        let paths = [publish.stage.path.clone(), environment.path("second")];
        for path in &paths {
            volume.stage(&Stage::new(path, block())).expect("stage");
        }
        volume.publish(&publish).expect("publish");
        for path in &paths {
            assert_eq!(volume.unstage(path).unwrap_err().kind(), ErrorKind::InUse, "published");
        }
        volume.unpublish(&publish.target).expect("unpublish");
        volume.unstage(&paths[first]).expect("unstage");
        volume.unstage(&paths[1 - first]).expect("unstage the other");
        volume.delete_inactive().expect("delete");
        assert_eq!(environment.host.leftovers(), Vec::<String>::new());
    }
}

#[test]
fn a_mounted_volume_is_not_staged_as_a_block_device_beside() {
    let environment = Environment::new();
    let (volume, publish) = volume(&environment, mount());
    volume.stage(&publish.stage).expect("stage");
    let error = volume.stage(&Stage::new(environment.path("second"), block())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(error.report().contains(&publish.stage.path.display().to_string()), "{error:?}");
    assert_eq!(state(&volume), VolumeState::Active);
}

#[test]
fn an_inline_volume_has_one_target() {
    let environment = Environment::new();
    let pool = environment.pool();
    let inline = spec("volume").inline(true);
    let at = |name| {
        let target = environment.path(name);
        Publish::new(&target, Stage::new(&target, mount()))
    };
    pool.publish_inline(&inline, &at("target")).expect("publish");
    let error = pool.publish_inline(&inline, &at("second")).expect_err("it is published");
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(error.report().contains("target"), "{error:?}");
    let volume = pool.volume("volume").expect("a volume id");
    assert_eq!(state(&volume), VolumeState::Active, "the first publication keeps it");
    volume.unpublish(&at("target").target).expect("unpublish");
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
    assert_eq!(environment.volume_directories(), Vec::<String>::new());
}

#[test]
fn a_missing_staging_directory_is_made_with_those_above_it() {
    for by_publish in [false, true] {
        let environment = Environment::new();
        let (volume, mut publish) = volume(&environment, mount());
        publish.stage.path = environment.path("data/staged/volume");
        match by_publish {
            true => volume.publish(&publish).expect("publish"),
            false => volume.stage(&publish.stage).expect("stage"),
        }
        let staged = environment.host.target(&publish.stage.path).expect("a target");
        assert!(matches!(staged, calf::sys::Target::FileSystem { .. }), "{staged}");
    }
}

#[test]
fn a_target_without_a_directory_above_it_is_a_matter_of_the_orchestrator() {
    for access in [block(), mount()] {
        let environment = Environment::new();
        let (volume, mut publish) = volume(&environment, access);
        publish.target = environment.path("pods/gone/target");
        volume.stage(&publish.stage).expect("stage");
        let error = volume.publish(&publish).expect_err("no directory");
        assert_eq!(error.kind(), ErrorKind::Unprepared);
        assert!(error.report().contains("pods/gone/target does not exist"), "{error:?}");
        assert_eq!(error.remedies().len(), 1, "{error:?}");
        assert!(!environment.path("pods").exists(), "the pod may be gone");
        fs::create_dir_all(environment.path("pods/gone")).expect("a directory");
        volume.publish(&publish).expect("publish, once it is there");
    }

    let environment = Environment::new();
    let target = environment.path("pods/gone/target");
    let publish = Publish::new(&target, Stage::new(&target, mount()));
    let error = environment.pool().publish_inline(&spec("volume").inline(true), &publish);
    assert_eq!(error.expect_err("no directory").kind(), ErrorKind::Unprepared);
    assert_eq!(environment.volume_directories(), Vec::<String>::new());
}
