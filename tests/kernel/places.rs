//! Pools that are not what they seem, on real file systems: not mounted, torn by a shutdown, copied.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Output};
use std::thread;
use std::time::{Duration, Instant};

use calf::sys::{DeviceId, Role};
use calf::{Durability, ErrorKind, ImportSpec, Key, Pool, VolumeSpec, VolumeState};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Page, Random, Rig, first_difference, open, read_page, run};
use rustix::mount::{MountFlags, UnmountFlags};

fn main() -> ExitCode {
    kernel::main(vec![
        kernel::test("a_driver_makes_no_pool_below_a_missing_mount", || {
            not_mounted(kernel::Fs::Xfs);
            not_mounted(kernel::Fs::Ext4);
        }),
        kernel::test("a_store_torn_by_a_shutdown_of_the_file_system_is_not_served", torn),
        kernel::test("a_clean_stop_and_start_in_one_mount_keeps_what_was_written", kept),
        kernel::test("a_copy_of_a_pool_leaves_the_original_alone", copied),
    ])
}

fn mount(fs: kernel::Fs, path: &Path) {
    rustix::mount::mount(kernel::disk(0), path, fs.name(), MountFlags::empty(), c"")
        .expect("mount");
}

/// Loop devices let go of the file system shortly after their last close.
fn unmount(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while let Err(error) = rustix::mount::unmount(path, UnmountFlags::empty()) {
        assert!(Instant::now() < deadline, "cannot unmount {}: {error}", path.display());
        thread::sleep(Duration::from_millis(50));
    }
}

fn calf(pool: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_calf"))
        .args(arguments)
        .env("CALF_POOL", pool)
        .output()
        .expect("calf runs")
}

fn not_mounted(fs: kernel::Fs) {
    let disk = kernel::pool_dir(fs);
    let root = disk.path();
    let image = kernel::work_dir().join("image");
    fs::write(&image, vec![7; 1 << 20]).expect("an image");
    {
        let pool = Pool::open(root).expect("a pool at the root of a file system");
        let spec = ImportSpec::new(image.as_path(), "image");
        pool.import_template(&spec, &mut |_| ()).expect("an import");
        pool.create_volume(&VolumeSpec::new("vm1", "image")).expect("create");
    }
    let socket = format!("unix://{}", kernel::work_dir().join("csi.sock").display());
    let serve = ["serve", "--node-id", "node-1", "--endpoint", &socket];
    unmount(root);
    for arguments in [
        &serve[..],
        &[&serve[..], &["--create-pool", "--require-mount"]].concat(),
        &["volume", "delete", "vm1"],
        &["--require-mount", "pool", "create"],
    ] {
        let output = calf(root, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {said}");
        assert!(said.contains("mount"), "{arguments:?}: {said}");
        let made = fs::read_dir(root).expect("the mount point").count();
        assert_eq!(made, 0, "{arguments:?} made something below the mount point");
    }
    mount(fs, root);
    for arguments in
        [&["--require-mount", "volume", "inspect", "vm1"][..], &["volume", "delete", "vm1"]]
    {
        let output = calf(root, arguments);
        assert!(output.status.success(), "{output:?}");
    }
}

/// The file system loses what it had not written, and a clean mount in the same boot hides that.
fn torn() {
    let rig = Rig::new(kernel::Fs::Xfs);
    let content = rig.import_random("random", 61);
    let pages = [1u64, 2, 3].map(|seed| Page::random(&mut Random(seed)));
    for durability in [Durability::Ephemeral, Durability::Durable] {
        let id = format!("{durability:?}").to_lowercase();
        let device = rig.open(&VolumeSpec::new(&id, "random").durability(durability));
        device.write_all_at(&pages[0].0, 0).and_then(|()| device.sync_all()).expect("write");
        rustix::fs::sync();
        for (page, offset) in [(&pages[1], 0), (&pages[2], 1 << 20)] {
            device.write_all_at(&page.0, offset).and_then(|()| device.sync_all()).expect("write");
        }
    }
    run("xfs_io", &["-x", "-c", "shutdown"], &[rig.disk.path()]);
    for id in ["ephemeral", "durable"] {
        let name = DeviceId::new(rig.pool.id(), &Key::of(id), Role::Snapshot).name;
        run("dmsetup", &["remove", "--noudevsync", &name], &[]);
    }
    unmount(rig.disk.path());
    mount(kernel::Fs::Xfs, rig.disk.path());
    let device = rig.activate("ephemeral");
    let torn = first_difference(&device, &content);
    assert_eq!(torn, None, "it starts over, and has neither an old write nor half of them");
    drop(device);
    let device = rig.activate("durable");
    assert!(read_page(&device, 0).0 == pages[1].0, "what was synced");
    assert!(read_page(&device, 1 << 20).0 == pages[2].0, "what was synced");
    drop(device);
    for id in ["ephemeral", "durable"] {
        rig.pool.volume(id).and_then(|volume| volume.delete()).expect("delete");
    }
}

fn kept() {
    for fs in [kernel::Fs::Xfs, kernel::Fs::Ext4, kernel::Fs::Btrfs] {
        let rig = Rig::new(fs);
        rig.import_random("random", 67);
        let page = Page::random(&mut Random(71));
        let device = rig.open(&VolumeSpec::new("volume", "random"));
        device.write_all_at(&page.0, 8192).expect("write");
        drop(device);
        let volume = rig.pool.volume("volume").expect("a volume id");
        volume.deactivate().expect("deactivate");
        assert!(read_page(&rig.activate("volume"), 8192).0 == page.0, "{fs:?}");
        volume.delete().expect("delete");
    }
}

fn copied() {
    let rig = Rig::new(kernel::Fs::Xfs);
    let content = rig.import_random("random", 73);
    let page = Page::random(&mut Random(79));
    let device = rig.open(&VolumeSpec::new("volume", "random"));
    device.write_all_at(&page.0, 4096).expect("write");
    let second = kernel::pool_dir(kernel::Fs::Ext4);
    run("cp", &["-a", "--sparse=always"], &[rig.pool.root(), second.path()]);
    let copy = Pool::open(second.path().join("pool")).expect("the copy");
    assert_eq!(copy.id(), rig.pool.id());
    drop(device);

    let volume = copy.volume("volume").expect("a volume id");
    for older in [false, true] {
        if older {
            let key = Key::of("volume");
            let directory = copy.root().join("volumes").join(key.as_str());
            fs::remove_dir_all(directory).expect("the copy was made before the volume");
        }
        let report = copy.reconcile().expect("reconcile");
        assert!(report.removed.is_empty() && report.repaired.is_empty(), "{report:?}");
        let error = volume.delete().expect_err("the device is the original's");
        assert_eq!(error.kind(), ErrorKind::InUse, "{error:?}");
        assert!(error.report().contains("copy"), "{error:?}");
    }
    let ours = rig.pool.volume("volume").expect("a volume id");
    assert_eq!(ours.status().expect("it is there").state, VolumeState::Active);
    let device = open(ours.activate().expect("active").path());
    assert!(read_page(&device, 4096).0 == page.0);
    assert!(read_page(&device, 8192).0 == content[8192..12288]);
    drop(device);
    ours.delete().expect("delete");
    drop(copy);
}
