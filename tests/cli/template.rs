//! `calf template`, used as by a user.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use calf_test_kit::command_line::{TestEnv, digest};
use serde_json::json;

#[test]
fn a_template_is_imported_listed_inspected_and_removed() {
    let env = TestEnv::new();
    let image = env.image("a.img", 8 << 20, 1 << 20);
    let path = image.to_str().unwrap();

    let run = env.ok(&["template", "import", path, "--name", "debian-12"]);
    assert!(run.stdout.starts_with("imported template debian-12 (8 MiB, "), "{}", run.stdout);
    assert!(run.stderr.contains("100 %  8 MiB of 8 MiB"), "{}", run.stderr);
    assert!(run.stderr.contains("no file system that calf knows"), "{}", run.stderr);

    let list = env.ok(&["template", "list"]).stdout;
    assert!(list.starts_with("NAME       SIZE   FILE SYSTEM"), "{list}");
    assert!(list.lines().nth(1).unwrap().starts_with("debian-12  8 MiB  -"), "{list}");

    let expected = format!("sha256:{}", digest(&image));
    assert!(env.ok(&["template", "inspect", "debian-12"]).stdout.contains(&expected));
    let inspected = env.json(&["template", "inspect", "debian-12"]);
    assert_eq!(inspected["digest"], expected);
    assert_eq!(inspected["size"], 8 << 20);
    assert_eq!(inspected["fsType"], json!(null));
    assert_eq!(inspected["volumes"], json!([]));
    assert!(inspected["allocated"].as_u64().unwrap() < 2 << 20, "{inspected}");
    let content = env.content("debian-12");
    assert_eq!(fs::read(&content).unwrap(), fs::read(&image).unwrap());
    assert_eq!(content.metadata().unwrap().mode() & 0o777, 0o400);
    assert_eq!(env.pool().metadata().unwrap().mode() & 0o777, 0o700);

    let run = env.ok(&["template", "remove", "debian-12"]);
    assert_eq!(run.stdout, "removed template debian-12\n");
    assert_eq!(env.json(&["template", "list"]), json!({ "templates": [] }));
    assert!(env.images().is_empty());
}

#[test]
fn json_is_for_programs_and_stays_as_it_is() {
    let env = TestEnv::new();
    let image = env.image("a.img", 1 << 20, 4096);
    let path = image.to_str().unwrap();
    let run = env.ok(&["template", "import", path, "--name", "a", "-o", "json"]);
    let imported: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let keys: Vec<&String> = imported.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["created", "digest", "fsBlockSize", "fsType", "name", "size", "source", "warm"],
        "fields are added, and never renamed or removed"
    );
    assert!(!run.stderr.contains('%'), "no progress for programs: {}", run.stderr);
    assert_eq!(env.json(&["template", "list"])["templates"], json!([imported]));
    assert_eq!(env.json(&["template", "rm", "a"]), json!({ "removed": ["a"] }));

    let run = env.run(&["template", "inspect", "a", "-o", "json"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(3), ""));
    let error: serde_json::Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!(error["error"]["kind"], "notFound");
    assert_eq!(error["error"]["exitCode"], 3);
    assert_eq!(error["error"]["message"], "cannot inspect template a: there is no such template");
}

#[test]
fn a_template_is_created_empty() {
    let env = TestEnv::new();
    let create = ["template", "create", "--empty", "ext4", "--size", "64Mi", "--name", "scratch"];
    let run = env.ok(&create);
    let says = "created template scratch (64 MiB, empty ext4, sha256:";
    assert!(run.stdout.starts_with(says), "{}", run.stdout);
    assert_eq!(env.ok(&create).stdout, run.stdout);
    let inspected = env.json(&["template", "inspect", "scratch"]);
    assert_eq!((&inspected["fsType"], &inspected["size"]), (&json!("ext4"), &json!(64 << 20)));
    assert_eq!(inspected["source"], "empty ext4");
    assert!(inspected["allocated"].as_u64().unwrap() < 1 << 20, "{inspected}");
    let digest = inspected["digest"].as_str().unwrap();
    env.ok(&[&create[..], &["--sha256", digest]].concat());
    for (arguments, code, word) in [
        (&["--empty", "xfs", "--size", "64Mi"][..], 2, "possible values: ext4"),
        (&["--empty", "ext4"], 2, "--size"),
        (&["--size", "64Mi"], 2, "--empty"),
        (&["--empty", "ext4", "--size", "1Mi"], 8, "16 MiB"),
        (&["--empty", "ext4", "--size", "64Mi", "--sha256", &"0".repeat(64)], 2, "was expected"),
    ] {
        let run = env.run(&[&["template", "create", "-n", "other"], arguments].concat());
        assert_eq!(run.code, Some(code), "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains(word), "{arguments:?}: {}", run.stderr);
    }
    assert_eq!(env.images().len(), 1);
}

#[test]
fn a_number_of_spares_is_checked_and_stays() {
    let env = TestEnv::new();
    let image = env.image("a.img", 1 << 20, 4096);
    env.ok(&["template", "import", image.to_str().unwrap(), "--name", "a"]);
    let run = env.ok(&["template", "warm", "a", "0"]);
    assert_eq!(run.stdout, "template a: 0 of 0 spares are ready\n");
    for (arguments, code, word) in [
        (["template", "warm", "a", "257"], 2, "256"),
        (["template", "warm", "a", "-1"], 2, "-1"),
        (["template", "warm", "b", "1"], 3, "no such template"),
    ] {
        let run = env.run(&arguments);
        assert_eq!(run.code, Some(code), "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains(word), "{arguments:?}: {}", run.stderr);
    }
    assert_eq!(env.json(&["template", "inspect", "a"])["warm"], 0);
}

#[test]
fn a_file_system_is_recognised_and_its_pitfalls_are_told() {
    let env = TestEnv::new();
    let image = env.image("a.img", 1 << 20, 0);
    let file = OpenOptions::new().write(true).open(&image).unwrap();
    // An ext4 of 1 KiB blocks with a journal to be replayed.
    for (at, value) in [(0x18, 0u32), (0x5C, 0x3C), (0x60, 0x2C6), (0x64, 0x46B), (0xE0, 8)] {
        file.write_all_at(&value.to_le_bytes(), 1024 + at).unwrap();
    }
    file.write_all_at(&[0x53, 0xEF], 1024 + 0x38).unwrap();
    let run = env.ok(&["template", "import", image.to_str().unwrap(), "-n", "a"]);
    assert!(run.stderr.contains("not unmounted cleanly"), "{}", run.stderr);
    assert!(run.stderr.contains("blocks of 1024 bytes"), "{}", run.stderr);
    assert!(!run.stderr.contains("errors"), "{}", run.stderr);
    // With its error flag, and mount options.
    file.write_all_at(&[3], 1024 + 0x3A).unwrap();
    file.write_all_at(b"errors=panic", 1024 + 0x200).unwrap();
    let run = env.ok(&["template", "import", image.to_str().unwrap(), "-n", "b"]);
    assert!(run.stderr.contains("flagged as having errors"), "{}", run.stderr);
    assert!(run.stderr.contains("contains mount options (\"errors=panic\")"), "{}", run.stderr);
    let inspected = env.json(&["template", "inspect", "a"]);
    assert_eq!((&inspected["fsType"], &inspected["fsBlockSize"]), (&json!("ext4"), &json!(1024)));
}

#[test]
fn what_cannot_be_imported_is_refused_with_the_way_out() {
    let env = TestEnv::new();
    let vmdk = env.path("a.vmdk");
    fs::write(&vmdk, b"KDMV\x01\0\0\0").unwrap();
    let odd = env.image("odd.img", 1000, 10);
    let good = env.image("good.img", 1 << 20, 4096);
    let import = |file: &Path, name: &str, more: &[&str]| {
        env.run(&[&["template", "import", file.to_str().unwrap(), "--name", name], more].concat())
    };
    for (run, code, error, help) in [
        (import(&vmdk, "a", &[]), 2, "it is a VMDK image", "qemu-img convert -O raw"),
        (import(&odd, "a", &[]), 2, "1000 bytes is not a multiple of 512", "truncate -s %512"),
        (import(&good, "a/b", &[]), 2, "must not contain '/'", "such as debian-12.5"),
        (import(&env.path("none.img"), "a", &[]), 3, "No such file", ""),
        (import(Path::new("-"), "a", &[]), 2, "it is empty", "raw disk image"),
        (import(Path::new("s3://b/a.img"), "a", &[]), 2, "object stores", "aws s3 presign"),
        (import(Path::new("docker.io/x/y:1"), "a", &[]), 3, "No such file", "docker://"),
        (import(&env.path(""), "a", &[]), 2, "no /usr, /etc or /bin", "--format rootfs"),
        (import(&good, "a", &["--reserve", "1000Ti"]), 7, "above its reserve", "remove templates"),
    ] {
        assert_eq!(run.code, Some(code), "{run:?}");
        assert_eq!(run.stdout, "");
        let line = run.stderr.lines().find(|line| line.starts_with("error: ")).unwrap();
        assert!(line.contains(error), "{line}");
        assert!(help.is_empty() || run.stderr.contains("\nhelp: "), "{run:?}");
        assert!(run.stderr.contains(help), "{run:?}");
    }
    assert_eq!(env.json(&["template", "list"]), json!({ "templates": [] }));
}

#[test]
fn a_mistyped_pool_does_not_become_one() {
    let env = TestEnv::new();
    for arguments in [
        &["template", "list"][..],
        &["template", "inspect", "a"],
        &["template", "remove", "a"],
        &["volume", "list"],
        &["volume", "create", "v", "--template", "t"],
        &["volume", "expand", "v", "1Gi"],
        &["volume", "stage", "v", "/t"],
        &["volume", "unstage", "v", "/t"],
        &["volume", "publish", "v", "/t"],
        &["volume", "publish-inline", "v", "/t", "--template", "t"],
        &["volume", "unpublish", "v", "/t"],
        &["volume", "delete", "v"],
        &["status"],
        &["reconcile"],
    ] {
        let run = env.run(arguments);
        assert_eq!(run.code, Some(3), "{arguments:?}: {run:?}");
        assert!(run.stderr.contains("there is no pool"), "{run:?}");
        assert!(!env.pool().exists(), "{arguments:?}");
    }
}

#[test]
fn someone_elses_directory_does_not_become_a_pool() {
    let env = TestEnv::new();
    let image = env.image("a.img", 1 << 20, 4096);
    fs::create_dir(env.pool()).unwrap();
    fs::write(env.pool().join("thesis.txt"), "precious").unwrap();
    let run = env.run(&["template", "import", image.to_str().unwrap(), "--name", "a"]);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("thesis.txt"), "{run:?}");
    assert_eq!(fs::read_dir(env.pool()).unwrap().count(), 1);
}

#[test]
fn colours_are_for_terminals() {
    let run = TestEnv::new().run(&["template", "list"]);
    assert!(!run.stderr.contains('\x1b'), "{run:?}");
}

#[test]
fn of_several_as_many_as_can_be_are_removed() {
    let env = TestEnv::new();
    let image = env.image("image", 1 << 20, 4096);
    env.ok(&["template", "import", image.to_str().unwrap(), "--name", "one"]);
    let run = env.run(&["template", "remove", "missing", "one", "lost"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(3), "removed template one\n"));
    assert!(run.stderr.contains("missing") && run.stderr.contains("lost"), "{}", run.stderr);
}
