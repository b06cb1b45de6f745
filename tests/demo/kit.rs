//! The parts of the kernel test kit that the demonstration shares: how to boot User-Mode Linux
//! and talk to it, early user space for a guest, and the inventory of what a kernel holds.

// The kit serves tests as well, and more is there than is used here.
#![allow(dead_code, unused_imports)]

#[path = "../kit/console.rs"]
pub(crate) mod console;
#[path = "../kit/disk.rs"]
pub(crate) mod disk;
#[path = "../kit/environment.rs"]
pub(crate) mod environment;
#[path = "../kit/guard.rs"]
pub(crate) mod guard;
#[path = "../kit/guest.rs"]
pub(crate) mod guest;
#[path = "../kit/initramfs.rs"]
pub(crate) mod initramfs;
#[path = "../kit/leak.rs"]
pub(crate) mod leak;
#[path = "../kit/machine.rs"]
pub(crate) mod machine;
#[path = "../kit/microvm.rs"]
pub(crate) mod microvm;
#[path = "../kit/modules.rs"]
pub(crate) mod modules;
#[path = "../kit/process.rs"]
pub(crate) mod process;
#[path = "../kit/protocol.rs"]
pub(crate) mod protocol;
#[path = "../kit/qemu_kernel.rs"]
pub(crate) mod qemu_kernel;
#[path = "../kit/uml.rs"]
pub(crate) mod uml;
