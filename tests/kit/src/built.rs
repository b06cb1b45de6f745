//! Where cargo and `make` put things. Cargo tells this to test targets only.

use std::path::{Path, PathBuf};

/// `target/tmp`, which cargo makes for test targets.
pub(crate) fn target_tmp() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// `target/tools`: what `make` installs for the tests (csi-sanity, the kernel for QEMU).
pub(crate) fn tools_dir() -> PathBuf {
    target_tmp().parent().unwrap_or(Path::new("/")).join("tools")
}
