//! The command line: the real binary, run as from a shell.

mod complete;
mod compressed;
mod download;
mod help;
mod import;
mod kubectl;
mod power;
mod snapshot;
mod template;
mod transfer;
mod volume;
