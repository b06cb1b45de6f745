//! Runs tests inside a real Linux kernel, and reports them as `cargo test` would.
//!
//! A file of `tests/kernel` is an ordinary test target with `harness = false`:
//!
//! ```no_run
//! use calf_test_kit::kernel;
//!
//! fn main() -> std::process::ExitCode {
//!     kernel::main(vec![kernel::test("a_volume_is_writable", a_volume_is_writable)])
//! }
//!
//! fn a_volume_is_writable() {
//!     let pool = kernel::pool_dir(kernel::Fs::Xfs);
//!     // ... panic to fail
//! }
//! ```
//!
//! The environment variable `CALF_KERNEL` chooses the kernel:
//!
//! | value | kernel |
//! | --- | --- |
//! | unset | none: the tests are listed as ignored (`-- --ignored` runs them as `uml`) |
//! | `uml` | User-Mode Linux, Debian's package, one CPU; needs no privileges |
//! | `qemu` | Debian's 6.12 cloud kernel in QEMU with two CPUs |
//! | `host` | this machine's own; needs root and dm-snapshot |
//!
//! ```text
//! cargo test ── libtest-mimic ── Machine ══ requests, replies ══ guest (PID 1) ── one process per test
//!   host            host          host        serial line           guest               guest
//! ```
//!
//! The host decides which tests run (filters and flags are those of `cargo test`), the guest runs
//! them one at a time. Each test is a process of its own. User-Mode Linux has one CPU, so the host
//! boots one for each of this machine's, up to four (`-- --test-threads=1` for one). When it ends, the guest checks that no
//! device-mapper device, loop device, mount or process is left. Whatever may have damaged the
//! kernel's state (a leak, a hang, a panic, an oops) fails that test, and the next test gets a
//! fresh kernel.
//!
//! In User-Mode Linux each page of a process may cost one of the host's mappings, of which there
//! are 65 530 (`vm.max_map_count`): a process that touches more than ~250 MiB can be killed with
//! signal 9 (`fix_range_common` on the console). Tests therefore process large content in pieces.
//!
//! Other variables: `CALF_KERNEL_CONSOLE=1` shows the kernel's messages as they come,
//! `CALF_KERNEL_MEMORY` (default `2G`) sizes the guest, `CALF_KERNEL_TIMEOUT` (a factor) multiplies
//! every time limit on a slow machine. `CALF_*`, `RUST_LOG`, `RUST_BACKTRACE` and `PROPTEST_*` are
//! passed on to the tests.

pub mod console;
mod disk;
pub mod environment;
pub mod guard;
pub mod guest;
mod hang;
mod host;
mod idle;
pub mod initramfs;
pub mod leak;
pub mod machine;
pub mod microvm;
mod modules;
mod process;
pub mod protocol;
mod qemu;
pub mod qemu_kernel;
mod scratch;
mod suite;
pub mod uml;

pub use disk::{DISK_BYTES, Fs, PoolDir, disk, pool_dir, reopen_pool_dir};
pub use environment::{Kernel, work_dir};
pub use process::{boot_count, crash_and_reboot};
pub use suite::{Suite, Test, test};

use std::process::ExitCode;

/// Runs `tests` in the kernel that `CALF_KERNEL` chooses. For more, see [`Suite`].
pub fn main(tests: Vec<Test>) -> ExitCode {
    Suite::new(tests).run()
}
