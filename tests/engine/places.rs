//! Pools that are not what they seem: missing, covered by another one, copied, or mounted anew.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use calf::sys::{DeviceId, Mapper as _, Role};
use calf::{Durability, ErrorKind, Key, Pool, VolumeState};
use calf_test_kit::simulated_pool::{Environment, copy_directory, spec};

fn root(environment: &Environment) -> PathBuf {
    environment.directory.path().join("pool")
}

fn open(environment: &Environment, root: &Path) -> Pool {
    environment.options().open(root).expect("a pool")
}

fn state(pool: &Pool, id: &str) -> VolumeState {
    pool.volume(id).and_then(|volume| volume.status()).expect("it is there").state
}

#[test]
fn a_missing_pool_is_not_made_unasked() {
    let environment = Environment::new();
    let empty = environment.directory.path().join("empty");
    fs::create_dir(&empty).expect("a directory");
    for root in [&empty, &environment.directory.path().join("nowhere")] {
        let error = environment.options().create(false).open(root).expect_err("no pool");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.report().contains("calf pool create"), "{error:?}");
    }
    assert_eq!(fs::read_dir(&empty).expect("a directory").count(), 0);
    environment.options().open(&empty).expect("a new pool");
    environment.options().create(false).open(&empty).expect("the same pool");
}

#[test]
fn a_required_mount_must_be_there() {
    let environment = Environment::new();
    let options = || environment.options().require_mount(true);
    for root in [root(&environment), environment.directory.path().join("nowhere")] {
        let error = options().open(&root).expect_err("nothing is mounted there");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
        assert!(error.report().contains("mount"), "{error:?}");
    }
    environment.host.set_file_system_root(true);
    options().open(root(&environment)).expect("it is mounted");
}

#[test]
fn a_pool_in_the_place_of_another_is_refused_while_devices_of_that_one_live() {
    let environment = Environment::new();
    let (root, aside) = (root(&environment), environment.directory.path().join("aside"));
    let pool = environment.pool();
    pool.create_volume(&spec("volume")).and_then(|volume| volume.activate()).expect("activate");
    // The file system is not mounted: below the mount point there is another pool.
    fs::rename(&root, &aside).expect("move");
    let store = Path::new("volumes").join(Key::of("volume").as_str()).join("cow");
    environment.options().open(aside.with_extension("new")).expect("another pool");
    fs::rename(aside.with_extension("new"), &root).expect("move");
    fs::create_dir_all(root.join(&store).parent().expect("a directory")).expect("a directory");
    File::create(root.join(&store)).expect("as the kernel shows the file");
    fs::rename(root.join("volumes"), root.join("templates")).expect("the pool has no volume");
    fs::create_dir_all(root.join(&store).parent().expect("a directory")).expect("a directory");
    File::create(root.join(&store)).expect("as the kernel shows the file");
    let error = environment.options().open(&root).expect_err("not this pool");
    assert_eq!(error.kind(), ErrorKind::InUse, "{error:?}");
    assert!(error.report().contains(pool.id().as_str()), "it names the other pool: {error:?}");
    fs::remove_dir_all(&root).expect("unmount");
    fs::rename(&aside, &root).expect("mount");
    environment.pool().volume("volume").and_then(|volume| volume.delete()).expect("delete");
}

#[test]
fn a_copy_of_a_pool_does_not_touch_the_devices_of_the_original() {
    let environment = Environment::new();
    let pool = environment.pool();
    for id in ["active", "inactive"] {
        pool.create_volume(&spec(id)).expect("create");
    }
    pool.volume("active").and_then(|volume| volume.activate()).expect("activate");
    let copied = environment.directory.path().join("copy");
    copy_directory(&root(&environment), &copied);
    let copy = open(&environment, &copied);
    assert_eq!(copy.id(), pool.id());
    let in_use = environment.host.leftovers();

    let report = copy.reconcile().expect("reconcile");
    assert!(report.removed.is_empty() && report.repaired.is_empty(), "{report:?}");
    let volume = copy.volume("active").expect("a volume id");
    for error in [
        volume.activate().map(drop).expect_err("it has no device"),
        volume.deactivate().expect_err("the device is the original's"),
        volume.delete().expect_err("the device is the original's"),
        volume.expand(1 << 30).map(drop).expect_err("the device is the original's"),
    ] {
        assert_eq!(error.kind(), ErrorKind::InUse, "{error:?}");
        assert!(error.report().contains("copy"), "{error:?}");
    }
    // One volume that cannot be looked at does not hide the others.
    let listed = copy.volumes().expect("a list");
    assert_eq!(listed.iter().map(|volume| &volume.record.id).collect::<Vec<_>>(), ["inactive"]);
    assert_eq!(copy.damage().expect("a list").len(), 1);
    copy.volume("inactive").and_then(|volume| volume.delete()).expect("it has no device");

    // An older copy does not even have the volume.
    let key = Key::of("active");
    fs::remove_dir_all(copied.join("volumes").join(key.as_str())).expect("remove");
    let report = open(&environment, &copied).reconcile().expect("reconcile");
    assert!(report.removed.is_empty(), "{report:?}");
    assert!(report.failed.len() == 1 && report.failed[0].contains("copy"), "{report:?}");

    assert_eq!(environment.host.leftovers(), in_use);
    assert_eq!(state(&pool, "active"), VolumeState::Active);
    pool.volume("active").and_then(|volume| volume.delete()).expect("delete");
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

#[test]
fn two_pools_may_have_volumes_of_the_same_id() {
    let environment = Environment::new();
    let pools = ["pool", "second"].map(|name| {
        let pool = open(&environment, &environment.directory.path().join(name));
        let image = environment.directory.path().join("second.img");
        fs::write(&image, vec![7; 1 << 20]).expect("an image");
        pool.import_template(&calf::ImportSpec::new(image.as_path(), "image"), &mut |_| ())
            .expect("import");
        pool
    });
    for pool in &pools {
        let spec = calf::VolumeSpec::new("vm1", "image");
        pool.create_volume(&spec).and_then(|volume| volume.activate()).expect("activate");
    }
    for pool in &pools {
        assert_eq!(pool.reconcile().expect("reconcile").live, 1);
        assert_eq!(state(pool, "vm1"), VolumeState::Active);
        pool.volume("vm1").and_then(|volume| volume.delete()).expect("delete");
    }
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

#[test]
fn devices_with_a_former_name_get_the_present_one() {
    let environment = Environment::new();
    let pool = environment.pool();
    let device =
        pool.create_volume(&spec("volume")).and_then(|volume| volume.activate()).expect("activate");
    let id = DeviceId::new(pool.id(), &Key::of("volume"), Role::Snapshot);
    let former = DeviceId { name: format!("calf-{}", Key::of("volume")), uuid: id.uuid.clone() };
    environment.host.adopt(&id.name, &former).expect("as an older calf named it");
    let again = pool.volume("volume").and_then(|volume| volume.activate()).expect("it is up");
    assert_eq!(again.number(), device.number());
    let report = pool.reconcile().expect("reconcile");
    assert!(report.live == 1 && report.failed.is_empty(), "{report:?}");
    assert_eq!(environment.host.device_names().expect("names"), [id.name].into());
    pool.volume("volume").and_then(|volume| volume.delete()).expect("delete");
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
}

#[test]
fn a_store_that_nobody_synced_is_good_until_the_file_system_is_mounted_anew() {
    let environment = Environment::new();
    let pool = environment.pool();
    for (id, durability, kept) in
        [("ephemeral", Durability::Ephemeral, false), ("durable", Durability::Durable, true)]
    {
        let volume = pool.create_volume(&spec(id).durability(durability)).expect("create");
        let store = root(&environment).join("volumes").join(Key::of(id).as_str()).join("cow");
        let write = |byte: u8| {
            let store = File::options().write(true).open(&store).expect("the store");
            store.write_all_at(&[byte], 9000).expect("write");
        };
        let read = || fs::read(&store).expect("the store")[9000];
        volume.activate().expect("activate");
        write(7);
        volume.deactivate().expect("deactivate");
        volume.activate().expect("the same store");
        assert_eq!(read(), 7, "{id}");
        volume.deactivate().expect("deactivate");
        environment.host.remount();
        volume.activate().expect("activate");
        assert_eq!(read() == 7, kept, "{id}");
        volume.delete().expect("delete");
    }
}
