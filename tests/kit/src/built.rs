//! Paths at which Cargo and `make` put the programs that tests run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The variable by which Cargo names the binary to a test.
pub(crate) const CALF: &str = "CARGO_BIN_EXE_calf";

/// The `calf` that was built for the running test.
pub fn calf() -> PathBuf {
    let path: OsString = std::env::var_os(CALF)
        .unwrap_or_else(|| panic!("{CALF} is not set: run the test with `cargo test`"));
    path.into()
}

/// `target`.
fn target_dir() -> PathBuf {
    // target/debug/calf
    calf().ancestors().nth(2).expect("a profile's directory below target").to_owned()
}

/// `target/tmp`, for files that are useless after a run.
pub fn target_tmp() -> PathBuf {
    target_dir().join("tmp")
}

/// `target/tools`: what `make` installs for the tests (csi-sanity, the kernel for QEMU).
pub fn tools_dir() -> PathBuf {
    target_dir().join("tools")
}

/// The root of the repository, which is where Cargo runs its tests.
pub(crate) fn repository() -> &'static Path {
    let kit = Path::new(env!("CARGO_MANIFEST_DIR"));
    kit.ancestors().nth(2).expect("the kit is in tests/kit")
}
