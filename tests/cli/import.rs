//! Imports that are killed, repeated, and run side by side.

#![allow(clippy::unwrap_used, reason = "it is for tests only")]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use calf_test_kit::command_line::{Run, TestEnv, digest};

const MIB: u64 = 1 << 20;

fn spawn(env: &TestEnv, image: &Path, name: &str) -> Child {
    env.command(&["-v", "template", "import", image.to_str().unwrap(), "--name", name])
        .spawn()
        .unwrap()
}

fn finish(child: Child) -> Run {
    child.wait_with_output().unwrap().into()
}

/// The progress that an import in progress has recorded.
fn recorded_offset(env: &TestEnv) -> u64 {
    let Ok(entries) = fs::read_dir(env.pool().join("images")) else { return 0 };
    let record = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(".import-"))
        .find_map(|entry| fs::read(entry.path().join("import.json")).ok())
        .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    record.and_then(|r| r["state"]["reading"]["offset"].as_u64()).unwrap_or(0)
}

/// Starts an import and kills it after its first checkpoint.
fn kill_after_checkpoint(env: &TestEnv, image: &Path) {
    for _ in 0..5 {
        let mut child = spawn(env, image, "a");
        while recorded_offset(env) == 0 && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        if !child.wait().unwrap().success() {
            return;
        }
        env.ok(&["template", "remove", "a"]);
    }
    panic!("the import ends before it can be killed");
}

#[test]
fn a_killed_import_goes_on_where_it_was() {
    let env = TestEnv::new();
    let image = env.image("a.img", 512 * MIB, 400 * MIB);
    kill_after_checkpoint(&env, &image);
    assert_eq!(env.images().len(), 1);
    assert!(env.images()[0].starts_with(".import-"));
    assert_eq!(env.json(&["template", "list"])["templates"], serde_json::json!([]));

    let run = finish(spawn(&env, &image, "a"));
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stderr.contains("resuming the import"), "{}", run.stderr);
    let expected = digest(&image);
    assert_eq!(env.images(), std::slice::from_ref(&expected), "nothing else is left");
    let content = env.content("a");
    assert_eq!(digest(&content), expected);
    assert!(content.metadata().unwrap().blocks() * 512 <= 402 * MIB, "holes stay holes");
}

#[test]
fn a_source_that_changed_after_the_kill_is_read_anew() {
    let env = TestEnv::new();
    let image = env.image("a.img", 512 * MIB, 400 * MIB);
    kill_after_checkpoint(&env, &image);
    let file = fs::OpenOptions::new().write(true).open(&image).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"changed", 0).unwrap();
    let run = finish(spawn(&env, &image, "a"));
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(!run.stderr.contains("resuming"), "{}", run.stderr);
    assert_eq!(env.images(), [digest(&image)]);
    assert_eq!(digest(&env.content("a")), digest(&image));
}

#[test]
fn a_killed_import_from_another_file_system_is_compared_and_goes_on() {
    let env = TestEnv::new();
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    if device(elsewhere.path()) == device(&env.path("")) {
        return;
    }
    let image = elsewhere.path().join("a.img");
    fs::rename(env.image("a.img", 288 * MIB, 256 * MIB), &image)
        .or_else(|_| fs::copy(env.path("a.img"), &image).map(drop))
        .unwrap();
    std::thread::sleep(Duration::from_millis(150));
    kill_after_checkpoint(&env, &image);
    let run = finish(spawn(&env, &image, "a"));
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stderr.contains("resuming the import"), "{}", run.stderr);
    assert_eq!(env.images(), [digest(&image)]);
    assert_eq!(digest(&env.content("a")), digest(&image));
}

#[test]
fn a_kill_at_any_moment_leaves_a_template_or_none() {
    let env = TestEnv::new();
    let image = env.image("a.img", 96 * MIB, 64 * MIB);
    let expected = digest(&image);
    for delay in [0, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128] {
        let mut child = spawn(&env, &image, "a");
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        if env.pool().join("pool.json").exists() {
            for template in env.json(&["template", "list"])["templates"].as_array().unwrap() {
                assert_eq!(template["digest"], format!("sha256:{expected}"));
                assert_eq!(digest(&env.content("a")), expected, "killed after {delay} ms");
            }
        }
        let run = finish(spawn(&env, &image, "a"));
        assert_eq!(run.code, Some(0), "{run:?}");
        assert_eq!(env.images(), std::slice::from_ref(&expected), "killed after {delay} ms");
        assert_eq!(digest(&env.content("a")), expected, "killed after {delay} ms");
        env.ok(&["template", "remove", "a"]);
        assert!(env.images().is_empty());
    }
}

#[test]
fn two_imports_of_one_file_read_it_once() {
    let env = TestEnv::new();
    let image = env.image("a.img", 256 * MIB, 192 * MIB);
    let (one, two) = (spawn(&env, &image, "one"), spawn(&env, &image, "two"));
    let runs = [finish(one), finish(two)];
    assert!(runs.iter().all(|run| run.code == Some(0)), "{runs:?}");
    let waited = |run: &&Run| run.stderr.contains("another import");
    let waiter: Vec<&Run> = runs.iter().filter(waited).collect();
    assert_eq!(waiter.len(), 1, "{runs:?}");
    assert!(!waiter[0].stderr.contains(" 50 %"), "it read nothing: {waiter:?}");
    assert_eq!(env.images(), [digest(&image)]);
    assert_eq!(env.content("one"), env.content("two"));
}

#[test]
fn imports_of_different_files_run_side_by_side() {
    let env = TestEnv::new();
    let first = env.image("1.img", 32 * MIB, 16 * MIB);
    let same = env.image("2.img", 32 * MIB, 16 * MIB);
    let other = env.image("3.img", 32 * MIB, 8 * MIB);
    let children: Vec<Child> = [(&first, "x"), (&same, "y"), (&other, "z"), (&other, "x")]
        .into_iter()
        .map(|(image, name)| spawn(&env, image, name))
        .collect();
    for run in children.into_iter().map(finish) {
        assert_eq!(run.code, Some(0), "{run:?}");
    }
    let mut expected = vec![digest(&first), digest(&other)];
    expected.sort();
    assert_eq!(env.images(), expected, "equal content is stored once");
    assert_eq!(digest(&env.content("y")), digest(&first));
    assert_eq!(digest(&env.content("z")), digest(&other));
    let x = digest(&env.content("x"));
    assert!(expected.contains(&x), "the later one won");
}

#[test]
fn an_option_that_is_refused_says_why_and_what_to_give() {
    let env = TestEnv::new();
    for (option, value, words) in [
        ("--format", "floppy", &["rootfs", "oci"][..]),
        ("--partition", "", &["root"]),
        ("--platform", "x/y/z/w", &["linux/arm64"]),
    ] {
        let run = env.run(&["template", "import", "image", "--name", "t", option, value]);
        assert_eq!(run.code, Some(2), "{option}: {}", run.stderr);
        for word in words {
            assert!(run.stderr.contains(word), "{option}: {}", run.stderr);
        }
    }
}
