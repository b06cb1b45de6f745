//! The choices that the command line offers at a Tab.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use calf_test_kit::command_line::TestEnv;

/// A pool with two templates and two volumes.
fn environment() -> TestEnv {
    let env = TestEnv::new();
    let image = env.image("image", 1 << 20, 4096);
    for name in ["base", "web"] {
        env.ok(&["template", "import", image.to_str().expect("UTF-8"), "--name", name]);
    }
    for id in ["vm1", "vm2"] {
        env.volume(id, 3 << 20, "2026-01-01T00:00:00Z", 4096);
    }
    env
}

/// The choices for the last word, as fish requests them: candidates that are not options.
fn offered(env: &TestEnv, words: &[&str]) -> Vec<String> {
    let run = env.command(&[&["--", "calf"], words].concat()).env("COMPLETE", "fish").output();
    let run = run.expect("start calf");
    assert!(run.status.success() && run.stderr.is_empty(), "{words:?}: {run:?}");
    let lines = String::from_utf8(run.stdout).expect("UTF-8");
    lines.lines().filter(|line| !line.starts_with('-')).map(str::to_owned).collect()
}

#[test]
fn ids_and_names_are_those_of_the_pool() {
    let env = environment();
    let volumes = ["vm1\t3 MiB of base", "vm2\t3 MiB of base"];
    for command in [
        "inspect",
        "activate",
        "expand",
        "resize",
        "stage",
        "unstage",
        "publish",
        "unpublish",
        "rm",
    ] {
        assert_eq!(offered(&env, &["volume", command, ""]), volumes, "{command}");
    }
    assert_eq!(offered(&env, &["volume", "rm", "vm1", "vm2"])[0], volumes[1]);
    let templates = ["base\t1 MiB", "web\t1 MiB"];
    for words in [
        &["template", "inspect", ""][..],
        &["template", "rm", ""],
        &["template", "warm", ""],
        &["volume", "create", "vm3", "--template", ""],
        &["volume", "publish-inline", "vm3", "/t", "-t", ""],
    ] {
        assert_eq!(offered(&env, words), templates, "{words:?}");
    }
    assert_eq!(offered(&env, &["template", "inspect", "w"]), templates[1..]);
    assert!(offered(&env, &["volume", "create", ""]).is_empty(), "a new id is not to be chosen");
}

#[test]
fn the_pool_is_the_one_on_the_command_line() {
    let (env, other) = (environment(), TestEnv::new());
    let pool = env.pool();
    let pool = pool.to_str().expect("UTF-8");
    let joined = format!("--pool={pool}");
    for words in [
        &["--pool", pool, "volume", "inspect", ""][..],
        &["volume", "--pool", pool, "inspect", ""],
        &["volume", &joined, "--quiet", "inspect", ""],
        &["volume", "inspect", "--at", "/t", "--pool", pool, ""],
    ] {
        assert_eq!(offered(&other, words).len(), 2, "{words:?}");
    }
    assert!(!other.pool().exists());
}

#[test]
fn a_tab_makes_nothing_and_complains_of_nothing() {
    let env = TestEnv::new();
    let words = ["volume", "inspect", ""];
    assert!(offered(&env, &words).is_empty());
    assert!(!env.pool().exists(), "no pool is made");

    fs::create_dir(env.pool()).expect("a directory");
    fs::write(env.pool().join("pool.json"), "no record").expect("a file");
    assert!(offered(&env, &words).is_empty());

    let env = environment();
    fs::write(env.pool().join("templates/odd.json"), "no record").expect("a file");
    let before = files(&env.pool());
    assert_eq!(offered(&env, &words).len(), 2);
    assert_eq!(offered(&env, &["template", "inspect", ""]).len(), 2);
    assert_eq!(files(&env.pool()), before);
}

/// Everything below a directory, with modification times.
fn files(directory: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let metadata = entry.metadata().expect("metadata");
        files.insert(entry.path(), metadata.modified().expect("a time"));
        if metadata.is_dir() {
            files.extend(self::files(&entry.path()));
        }
    }
    files
}

#[test]
fn a_shell_is_told_how_to_ask() {
    let env = TestEnv::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = env.command(&[]).env("COMPLETE", shell).output().expect("start calf");
        let script = String::from_utf8(script.stdout).expect("UTF-8");
        assert!(script.contains("COMPLETE") && script.contains("calf"), "{shell}: {script}");
    }
}
