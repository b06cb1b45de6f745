//! The parts of the kernel test kit that the end-to-end test shares: how to boot User-Mode Linux,
//! what its kernel said, early user space for a microVM.

// The kit serves tests as well, and more is there than is used here.
#![allow(dead_code, unused_imports)]

#[path = "../kit/console.rs"]
pub(crate) mod console;
#[path = "../kit/environment.rs"]
pub(crate) mod environment;
#[path = "../kit/guard.rs"]
pub(crate) mod guard;
#[path = "../kit/initramfs.rs"]
pub(crate) mod initramfs;
#[path = "../kit/machine.rs"]
pub(crate) mod machine;
#[path = "../kit/microvm.rs"]
pub(crate) mod microvm;
#[path = "../kit/modules.rs"]
pub(crate) mod modules;
#[path = "../kit/protocol.rs"]
pub(crate) mod protocol;
#[path = "../kit/qemu_kernel.rs"]
pub(crate) mod qemu_kernel;
#[path = "../kit/target.rs"]
pub(crate) mod target;
#[path = "../kit/uml.rs"]
pub(crate) mod uml;
