//! csi-sanity against the driver in a kernel without device-mapper: volumes are private copies.

use std::process::ExitCode;

use calf_test_kit::csi_sanity::{self, Sanity};
use calf_test_kit::kernel;

fn main() -> ExitCode {
    let tests = vec![
        kernel::test("device_mapper_is_absent", device_mapper_is_absent),
        kernel::test("sanity_block_fallback_copy", || fallback("block", "copy", kernel::Fs::Ext4))
            .timeout(csi_sanity::LIMIT),
        kernel::test("sanity_mount_fallback_copy", || fallback("mount", "copy", kernel::Fs::Ext4))
            .timeout(csi_sanity::LIMIT),
        kernel::test("sanity_block_fallback_reflink", || {
            fallback("block", "reflink", kernel::Fs::Xfs)
        })
        .timeout(csi_sanity::LIMIT),
        kernel::test("sanity_mount_fallback_reflink", || {
            fallback("mount", "reflink", kernel::Fs::Xfs)
        })
        .timeout(csi_sanity::LIMIT),
    ];
    kernel::Suite::new(tests).without_device_mapper().tool(csi_sanity::PROGRAM).run()
}

fn device_mapper_is_absent() {
    assert!(!std::path::Path::new("/dev/mapper/control").exists());
}

fn fallback(access: &'static str, fallback: &'static str, pool: kernel::Fs) {
    Sanity { access, pool, fallback: Some(fallback) }.passes();
}
