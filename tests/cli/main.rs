//! The command line: the real binary, as at a shell.

mod complete;
mod download;
mod help;
mod import;
mod power;
mod template;
mod volume;
