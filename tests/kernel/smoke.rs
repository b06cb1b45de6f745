//! The test kernel has what calf needs, and the kit's disks work.

use std::fs;
use std::process::{Command, ExitCode};

mod kit;

fn main() -> ExitCode {
    kit::main(vec![
        kit::test("the_kernel_has_dm_snapshot", the_kernel_has_dm_snapshot),
        kit::test("a_snapshot_device_can_be_made_and_removed", a_snapshot_device),
        kit::test("pools_can_be_on_ext4_xfs_and_tmpfs", pools_on_file_systems),
        kit::test("a_pool_survives_a_crash", a_pool_survives_a_crash),
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
    let pool = kit::pool_dir(kit::Fs::Ext4);
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
    let pools = [kit::Fs::Ext4, kit::Fs::Xfs, kit::Fs::Tmpfs].map(kit::pool_dir);
    for pool in &pools {
        fs::write(pool.path().join("file"), [1; 100_000]).expect("write");
    }
    let xfs = pools[1].path();
    let (from, to) = (xfs.join("file"), xfs.join("clone"));
    let (from, to) = (fs::File::open(from).expect("open"), fs::File::create(to).expect("create"));
    rustix::fs::ioctl_ficlone(&to, &from).expect("XFS shares blocks between files");
}

fn a_pool_survives_a_crash() {
    if kit::boot_count() == 0 {
        let pool = kit::pool_dir(kit::Fs::Xfs);
        let synced = fs::File::create(pool.path().join("synced")).expect("create");
        synced.sync_all().expect("sync");
        kit::crash_and_reboot();
    }
    let pool = kit::reopen_pool_dir(kit::Fs::Xfs);
    assert!(pool.path().join("synced").exists());
}
