//! Checks what crates.io would be sent.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The most that the package's files may have together, in bytes.
const MOST: u64 = 5 << 19;

/// What it holds beside the sources, apart from what cargo adds.
const BESIDE_SOURCES: [&str; 9] = [
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "build.rs",
    "charts/calf/files/10-calf.rules",
    "docs/examples/recovery.rs",
    "docs/examples/sandboxes.rs",
    "proto/csi.proto",
    "proto/kubelet.proto",
];

const ADDED_BY_CARGO: [&str; 4] =
    [".cargo_vcs_info.json", "Cargo.lock", "Cargo.toml", "Cargo.toml.orig"];

/// The files of the package, by their paths in the repository.
fn files() -> BTreeSet<String> {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.args(["package", "--list", "--allow-dirty", "--locked", "--offline"]);
    let output = command.output().expect("cargo package");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().filter(|file| !ADDED_BY_CARGO.contains(file)).map(str::to_owned).collect()
}

/// Each `include_str!` of the code that is no test, as the source and the file that it takes in.
fn taken_in(sources: &BTreeSet<String>) -> Vec<(String, PathBuf)> {
    let mut taken = Vec::new();
    for source in sources.iter().filter(|source| !source.ends_with("tests.rs")) {
        let text = fs::read_to_string(source).expect("a source");
        for rest in text.split("include_str!(\"").skip(1) {
            let (file, _) = rest.split_once('"').expect("an end");
            let directory = Path::new(source).parent().expect("a directory");
            taken.push((source.clone(), directory.join(file)));
        }
    }
    taken
}

#[test]
fn the_package_is_small_and_whole() {
    let files = files();
    let (sources, beside): (BTreeSet<_>, BTreeSet<_>) =
        files.into_iter().partition(|file| file.starts_with("src/"));
    assert_eq!(beside, BESIDE_SOURCES.map(str::to_owned).into());
    let size = |file: &String| fs::metadata(file).expect("a file").len();
    let total = sources.iter().chain(&beside).map(size).sum::<u64>();
    assert!(total <= MOST, "{total} bytes");
    let taken = taken_in(&sources);
    assert!(!taken.is_empty(), "the udev rules are compiled in");
    for (source, file) in taken {
        let file = fs::canonicalize(&file).expect("an included file");
        let root = fs::canonicalize(".").expect("the repository");
        let file = file.strip_prefix(root).expect("within the repository").display().to_string();
        assert!(beside.contains(&file), "{source} takes in {file}, which the package has not");
    }
}
