//! csi-sanity against the driver on dm-snapshot, in block and in mount mode.

use std::process::{Command, ExitCode};

use calf_test_kit::csi_sanity::{self, Sanity};
use calf_test_kit::kernel;

fn main() -> ExitCode {
    let tests = vec![
        kernel::test("csi_sanity_runs_here", csi_sanity_runs_here),
        kernel::test("sanity_block_snapshot", || snapshot("block")).timeout(csi_sanity::LIMIT),
        kernel::test("sanity_mount_snapshot", || snapshot("mount")).timeout(csi_sanity::LIMIT),
    ];
    kernel::Suite::new(tests).tool(csi_sanity::PROGRAM).run()
}

fn csi_sanity_runs_here() {
    let output = Command::new(csi_sanity::program()).arg("--version").output();
    assert!(output.expect("start csi-sanity (install it with `make deps`)").status.success());
}

fn snapshot(access: &'static str) {
    Sanity { access, pool: kernel::Fs::Xfs, fallback: None }.passes();
}
