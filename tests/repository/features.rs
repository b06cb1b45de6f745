//! Checks which crates each feature of calf brings into a build.

use std::collections::BTreeSet;
use std::process::Command;

/// Maximum number of crates for the engine alone, without calf itself.
const MOST_OF_ENGINE: usize = 62;

/// Crates that the engine must not bring: gRPC, servers, metrics, a command line, a runtime, TLS, decoders.
const NOT_OF_ENGINE: [&str; 21] = [
    "bzip2",
    "clap",
    "comfy-table",
    "flate2",
    "gptman",
    "hyper",
    "indicatif",
    "lzma-rust2",
    "mkext4",
    "prometheus-client",
    "prost",
    "protox",
    "rustls",
    "seccompiler",
    "tar-core",
    "tokio",
    "tonic",
    "tonic-prost-build",
    "tracing-subscriber",
    "ureq",
    "zstd",
];

/// The names of the crates that a build with these features needs, without calf itself.
fn crates(features: &[&str]) -> BTreeSet<String> {
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--locked", "--offline", "--prefix", "none", "--format", "{p}"])
        .args(["--edges", "normal", "--no-default-features", "--features"])
        .arg(features.join(","));
    let output = command.output().expect("cargo tree");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let of_line = |line: &str| line.trim_end_matches(" (*)").to_owned();
    text.lines().map(of_line).filter(|krate| !krate.starts_with("calf-csi ")).collect()
}

fn has(crates: &BTreeSet<String>, name: &str) -> bool {
    crates.iter().any(|krate| krate.split(' ').next() == Some(name))
}

#[test]
fn the_engine_alone_is_small() {
    let crates = crates(&[]);
    assert!(has(&crates, "devicemapper"), "the tree was read: {crates:?}");
    for name in NOT_OF_ENGINE {
        assert!(!has(&crates, name), "the engine alone brings {name}");
    }
    assert!(crates.len() <= MOST_OF_ENGINE, "{} crates: {crates:?}", crates.len());
}

#[test]
fn downloads_bring_no_driver() {
    let crates = crates(&["http"]);
    for name in NOT_OF_ENGINE {
        let wanted = ["ureq", "rustls"].contains(&name);
        assert_eq!(has(&crates, name), wanted, "{name}");
    }
}

#[test]
fn decoders_bring_no_driver() {
    let crates = crates(&["formats"]);
    for name in NOT_OF_ENGINE {
        let wanted = ["bzip2", "flate2", "gptman", "lzma-rust2", "mkext4", "tar-core", "zstd"]
            .contains(&name);
        assert_eq!(has(&crates, name), wanted, "{name}");
    }
}

#[test]
fn the_driver_brings_no_command_line() {
    let crates = crates(&["driver"]);
    assert!(has(&crates, "tonic"));
    for name in ["clap", "comfy-table", "indicatif", "tracing-subscriber"] {
        assert!(!has(&crates, name), "the driver brings {name}");
    }
}
