//! csi-sanity against the driver on dm-snapshot, in block and in mount mode.

use std::process::{Command, ExitCode};

mod driver;
mod kit;
mod sanity;

use sanity::Sanity;

fn main() -> ExitCode {
    let tests = vec![
        kit::test("csi_sanity_runs_here", csi_sanity_runs_here),
        kit::test("sanity_block_snapshot", || snapshot("block")).timeout(sanity::LIMIT),
        kit::test("sanity_mount_snapshot", || snapshot("mount")).timeout(sanity::LIMIT),
    ];
    kit::Suite::new(tests).file(sanity::program()).run()
}

fn csi_sanity_runs_here() {
    let output = Command::new(sanity::program()).arg("--version").output();
    assert!(output.expect("start csi-sanity (install it with `make deps`)").status.success());
}

fn snapshot(access: &'static str) {
    Sanity { access, pool: kit::Fs::Xfs, fallback: None }.passes();
}
