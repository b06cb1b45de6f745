//! User-Mode Linux: Debian's `user-mode-linux`, a Linux kernel that is a program.
//!
//! Its root is this machine's, read-only. Serial line 0 is the line to the host, the console is
//! standard error.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::environment::{self, CHANNEL, INIT, KERNEL};
use super::machine::Machine;
use super::protocol::SetUp;

pub(crate) const BOOT_LIMIT: Duration = Duration::from_secs(90);
const PROGRAM: &str = "linux.uml";
const MODULES: &str = "/usr/lib/uml/modules";

pub fn disk_device(index: usize) -> String {
    format!("/dev/ubd{}", char::from(b'a' + u8::try_from(index).unwrap_or(0)))
}

pub fn boot(
    init: &Path,
    scratch: &Path,
    disks: &[PathBuf],
    set_up: SetUp,
) -> Result<Machine, String> {
    let mut command = command(&environment::memory(), scratch, disks)?;
    command
        .args(["ssl=null", "ssl0=fd:0,fd:1"])
        .arg(format!("init={}", init.display()))
        .arg(format!("{KERNEL}={INIT}"))
        .arg(format!("{CHANNEL}=/dev/ttyS0"));
    let modules_dir = modules_dir()?;
    Machine::boot(command, SetUp { modules_dir, ..set_up }, BOOT_LIMIT)
}

/// The kernel with this machine's root, its console on standard error, and `disks`. The caller adds
/// its init, and the line to it.
pub fn command(memory: &str, scratch: &Path, disks: &[PathBuf]) -> Result<Command, String> {
    let mut command = Command::new(PROGRAM);
    command
        .arg(format!("mem={memory}"))
        .args(["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"])
        .arg(format!("uml_dir={}/", scratch.display()))
        .args(["con=null", "con0=null,fd:2", "quiet", "loglevel=5", "panic=-1"])
        // The guest's memory is a file: let the kernel find the host's /dev/shm for it.
        .env_remove("TMPDIR");
    for (index, disk) in disks.iter().enumerate() {
        command.arg(format!("ubd{index}={}", disk.display()));
    }
    if has_large_registers() {
        command.env("LD_PRELOAD", build_xstate(scratch)?);
    }
    Ok(command)
}

/// Whether this processor's register state is larger than the kernel knows: see `xstate.c`.
fn has_large_registers() -> bool {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    processors.split_whitespace().any(|flag| flag == "amx_tile")
}

/// Builds the library that lets the kernel run on such a processor.
fn build_xstate(scratch: &Path) -> Result<PathBuf, String> {
    let (source, library) = (scratch.join("xstate.c"), scratch.join("xstate.so"));
    let failed = |why: String| format!("cannot build {}: {why}", library.display());
    std::fs::write(&source, include_str!("xstate.c")).map_err(|e| failed(e.to_string()))?;
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(&source).arg("-ldl");
    let output = compiler.output().map_err(|e| failed(format!("cc: {e}")))?;
    if output.status.success() {
        return Ok(library);
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// The directory with `modules.dep`. The package holds the modules of exactly one kernel.
pub fn modules_dir() -> Result<PathBuf, String> {
    let missing = || {
        "User-Mode Linux is missing: install it with `make deps` (Debian's package user-mode-linux)"
            .to_owned()
    };
    let entries = std::fs::read_dir(MODULES).map_err(|_| missing())?;
    entries.flatten().map(|entry| entry.path()).next().ok_or_else(missing)
}
