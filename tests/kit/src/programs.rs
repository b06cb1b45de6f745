//! Programs that make and check images, and what tests say to them.

use std::path::Path;
use std::process::Command;

use sha2::{Digest as _, Sha256};

/// Runs a program that must succeed, and returns its output.
pub fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    // e2fsprogs is in a directory that not every user's PATH has.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).output();
    let output =
        output.unwrap_or_else(|e| panic!("{program}: {e} (tests/deps.sh test installs it)"));
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    output.stdout
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The SHA-256 of the bytes, in hexadecimal digits.
pub fn hex_of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
