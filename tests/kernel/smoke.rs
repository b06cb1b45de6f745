//! The test kernel has what calf needs, and the kit's disks work.

use std::fs;
use std::process::{Command, ExitCode};

use calf_test_kit::kernel;

fn main() -> ExitCode {
    kernel::main(vec![
        kernel::test("the_kernel_has_dm_snapshot", the_kernel_has_dm_snapshot),
        kernel::test("a_snapshot_device_can_be_made_and_removed", a_snapshot_device),
        kernel::test("pools_can_be_on_ext4_xfs_and_tmpfs", pools_on_file_systems),
        kernel::test("a_pool_survives_a_crash", a_pool_survives_a_crash),
    ])
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {}: {said}", output.status);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn the_kernel_has_dm_snapshot() {
    let targets = run("dmsetup", &["targets"]);
    assert!(targets.lines().any(|line| line.starts_with("snapshot ")), "{targets}");
}

fn a_snapshot_device() {
    let pool = kernel::pool_dir(kernel::Fs::Ext4);
    let attach = |name: &str| {
        let file = pool.path().join(name);
        fs::File::create(&file).expect("create").set_len(64 << 20).expect("extend");
        run("losetup", &["--find", "--show", file.to_str().expect("UTF-8")])
    };
    let (origin, store) = (attach("origin"), attach("cow"));
    let table = format!("0 131072 snapshot {origin} {store} PO 8");
    run("dmsetup", &["create", "smoke", "--noudevsync", "--noudevrules", "--table", &table]);
    run("dmsetup", &["remove", "--noudevsync", "smoke"]);
    run("losetup", &["--detach", &origin]);
    run("losetup", &["--detach", &store]);
}

fn pools_on_file_systems() {
    let pools = [kernel::Fs::Ext4, kernel::Fs::Xfs, kernel::Fs::Tmpfs].map(kernel::pool_dir);
    for pool in &pools {
        fs::write(pool.path().join("file"), [1; 100_000]).expect("write");
    }
    let xfs = pools[1].path();
    let (from, to) = (xfs.join("file"), xfs.join("clone"));
    let (from, to) = (fs::File::open(from).expect("open"), fs::File::create(to).expect("create"));
    rustix::fs::ioctl_ficlone(&to, &from).expect("XFS shares blocks between files");
}

fn a_pool_survives_a_crash() {
    if kernel::boot_count() == 0 {
        let pool = kernel::pool_dir(kernel::Fs::Xfs);
        let synced = fs::File::create(pool.path().join("synced")).expect("create");
        synced.sync_all().expect("sync");
        kernel::crash_and_reboot();
    }
    let pool = kernel::reopen_pool_dir(kernel::Fs::Xfs);
    assert!(pool.path().join("synced").exists());
}
