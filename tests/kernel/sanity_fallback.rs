//! csi-sanity against the driver in a kernel without device-mapper: volumes are private copies.

use std::process::ExitCode;

mod driver;
mod kit;
mod sanity;

use sanity::Sanity;

fn main() -> ExitCode {
    let tests = vec![
        kit::test("device_mapper_is_absent", device_mapper_is_absent),
        kit::test("sanity_block_fallback_copy", || fallback("block", "copy", kit::Fs::Ext4))
            .timeout(sanity::LIMIT),
        kit::test("sanity_mount_fallback_copy", || fallback("mount", "copy", kit::Fs::Ext4))
            .timeout(sanity::LIMIT),
        kit::test("sanity_block_fallback_reflink", || fallback("block", "reflink", kit::Fs::Xfs))
            .timeout(sanity::LIMIT),
        kit::test("sanity_mount_fallback_reflink", || fallback("mount", "reflink", kit::Fs::Xfs))
            .timeout(sanity::LIMIT),
    ];
    kit::Suite::new(tests).without_device_mapper().file(sanity::program()).run()
}

fn device_mapper_is_absent() {
    assert!(!std::path::Path::new("/dev/mapper/control").exists());
}

fn fallback(access: &'static str, fallback: &'static str, pool: kit::Fs) {
    Sanity { access, pool, fallback: Some(fallback) }.passes();
}
