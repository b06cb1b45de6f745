//! The command line: the real binary, as at a shell.

mod download;
mod help;
mod import;
mod template;
