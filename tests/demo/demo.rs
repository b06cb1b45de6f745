//! `make demo`: demonstrates calf on real input, from an image to a microVM, and cleans up.
//!
//! This is a demonstration, not a test. Still, it checks everything that it reports, and fails
//! loudly.
//!
//! ```text
//! outside (this machine)                    inside (a kernel with dm-snapshot)
//!   image   a Debian root, cached             template  `calf template import`
//!   kernel  this machine's, or                driver    `calf serve`, driven over CSI alone
//!           User-Mode Linux  ─────────────▶   volumes   five, one of them booted as a microVM
//!                                             evidence  where the guest's writes are
//!                                             teardown  and that nothing is left
//! ```
//!
//! `CALF_KERNEL=uml` or `host` chooses the kernel; without it, this machine's is used if it can
//! be. `CALF_DEMO_MIRROR` names another mirror of Debian.

mod command;
mod csi;
mod driver;
mod evidence;
mod fork;
mod image;
mod inside;
mod microvm;
mod outside;
mod place;
mod stop;
mod teardown;
mod ui;
mod volumes;

use std::process::ExitCode;

use calf_test_kit::kernel::{Kernel, guest};

/// Errors are only for the person at the terminal.
type Result<T, E = String> = std::result::Result<T, E>;

fn main() -> ExitCode {
    match Kernel::from_environment() {
        Ok(Kernel::Init) => guest::serve(),
        Ok(Kernel::OneTest) => inside::run_in_guest(),
        Ok(kernel) => outside::run(kernel),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
