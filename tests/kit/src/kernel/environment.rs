//! Settings from the environment: which kernel, how much memory, where to write.

use std::path::PathBuf;
use std::time::Duration;

use crate::built;

/// Where the tests run. The last two are internal to the kit and set only inside a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    None,
    UserMode,
    Qemu,
    Host,
    /// This process is PID 1 of a guest.
    Init,
    /// This process runs one test and ends.
    OneTest,
}

pub(crate) const KERNEL: &str = "CALF_KERNEL";
pub(crate) const CHANNEL: &str = "CALF_KIT_CHANNEL";
pub(crate) const TEST: &str = "CALF_KIT_TEST";
pub const DISKS: &str = "CALF_KIT_DISKS";
pub(crate) const WORK: &str = "CALF_KIT_WORK";
pub(crate) const BOOT: &str = "CALF_KIT_BOOT";
pub(crate) const INIT: &str = "init";
pub(crate) const ONE_TEST: &str = "one-test";

impl Kernel {
    pub fn from_environment() -> Result<Self, String> {
        match std::env::var(KERNEL).unwrap_or_default().as_str() {
            "" => Ok(Self::None),
            "uml" => Ok(Self::UserMode),
            "qemu" => Ok(Self::Qemu),
            "host" => Ok(Self::Host),
            INIT => Ok(Self::Init),
            ONE_TEST => Ok(Self::OneTest),
            other => Err(format!("{KERNEL}={other} is unknown: use uml, qemu or host")),
        }
    }

    /// Whether this process is already inside the kernel under test.
    pub fn is_inside(self) -> bool {
        matches!(self, Self::Init | Self::OneTest)
    }
}

/// The variables that are passed to tests, from the environment of `cargo test`.
pub(crate) fn passed_on() -> Vec<(String, String)> {
    std::env::vars()
        .filter(|(name, _)| {
            let kit = name == KERNEL || name.starts_with("CALF_KIT_");
            let wanted = ["CALF_", "PROPTEST_"].iter().any(|prefix| name.starts_with(prefix))
                || ["RUST_LOG", "RUST_BACKTRACE", built::CALF].contains(&name.as_str());
            wanted && !kit
        })
        .collect()
}

pub(crate) fn memory() -> String {
    std::env::var("CALF_KERNEL_MEMORY").unwrap_or_else(|_| "2G".into())
}

/// A time limit, stretched by `CALF_KERNEL_TIMEOUT`.
pub fn stretched(limit: Duration) -> Duration {
    let factor =
        std::env::var("CALF_KERNEL_TIMEOUT").ok().and_then(|text| text.parse::<f64>().ok());
    limit.mul_f64(factor.unwrap_or(1.0).clamp(0.01, 100.0))
}

pub(crate) fn console_is_shown() -> bool {
    std::env::var_os("CALF_KERNEL_CONSOLE").is_some_and(|value| value != "0")
}

/// A writable directory for the running test: sockets, mount points, small files. In a guest, it is
/// in memory; use [`super::pool_dir`] for files that must be on a disk.
pub fn work_dir() -> PathBuf {
    let dir = std::env::var_os(WORK).expect("work_dir() is for use inside a kernel test");
    PathBuf::from(dir)
}
