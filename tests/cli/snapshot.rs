//! The parts of `calf snapshot` that need no kernel: `tests/kernel/cli.rs` has the rest.

use calf_test_kit::command_line::TestEnv;

fn environment() -> TestEnv {
    let env = TestEnv::new();
    let image = env.image("image", 1 << 20, 4096);
    env.ok(&["template", "import", image.to_str().expect("UTF-8"), "--name", "base"]);
    env
}

#[test]
fn a_pool_without_snapshots_says_so() {
    let env = environment();
    assert_eq!(env.json(&["snapshot", "list"])["snapshots"], serde_json::json!([]));
    assert_eq!(env.ok(&["snapshot", "ls"]).stdout.split_whitespace().next(), Some("NAME"));
    assert_eq!(env.ok(&["snapshot", "list", "-o", "name"]).stdout, "");
    assert!(
        env.ok(&["status"])
            .stdout
            .lines()
            .any(|line| { line.split_whitespace().collect::<Vec<_>>() == ["Snapshots", "none"] })
    );
    assert_eq!(env.json(&["status"])["snapshots"]["count"], 0);
    let deleted = env.ok(&["snapshot", "delete", "s"]);
    assert_eq!(deleted.stdout, "there is no snapshot s\n");
    assert_eq!(env.json(&["snapshot", "group", "list"])["groups"], serde_json::json!([]));
    assert_eq!(env.ok(&["snapshot", "group", "ls"]).stdout.split_whitespace().next(), Some("NAME"));
    let deleted = env.ok(&["snapshot", "group", "rm", "g"]);
    assert_eq!(deleted.stdout, "there is no group g\n");
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let env = environment();
    env.volume("copy", 1 << 20, "2026-01-01T00:00:00Z", 4096);
    for (arguments, code) in [
        (&["snapshot", "create", "copy", "s"][..], 9),
        (&["snapshot", "create", "none", "s"], 3),
        (&["snapshot", "create", "copy", "a\nb"], 2),
        (&["snapshot", "create", "copy", "s", "--consistency", "perfect"], 2),
        (&["snapshot", "inspect", "s"], 3),
        (&["snapshot", "group", "create", "g", "copy"], 9),
        (&["snapshot", "group", "create", "g", "none"], 3),
        (&["snapshot", "group", "create", "g", "copy", "copy"], 2),
        (&["snapshot", "group", "create", "g"], 2),
        (&["snapshot", "group", "inspect", "g"], 3),
        (&["snapshot", "activate", "s"], 3),
        (&["snapshot", "activate", "a\nb"], 2),
        (&["snapshot", "deactivate", "a\nb"], 2),
        (&["snapshot", "diff", "r", "s"], 3),
        (&["snapshot", "diff", "s"], 2),
        (&["snapshot", "diff", "a\nb", "s"], 2),
        (&["snapshot", "allocated", "s"], 3),
        (&["volume", "create", "v", "--snapshot", "s"], 3),
        (&["volume", "create", "v", "--snapshot", "s", "--chunk-size", "4Ki"], 2),
        (&["volume", "create", "v"], 2),
        (&["volume", "rollback", "copy", "--snapshot", "s"], 9),
        (&["volume", "rollback", "none", "--snapshot", "s"], 3),
        (&["volume", "rollback", "copy"], 2),
        (&["template", "commit", "--volume", "copy", "--name", "t"], 9),
        (&["template", "commit", "--volume", "none", "--name", "t"], 3),
        (&["template", "commit", "--snapshot", "s", "--name", "t"], 3),
        (&["template", "commit", "--snapshot", "s", "--name", "a/b"], 2),
        (&["template", "commit", "--name", "t"], 2),
        (&["template", "commit", "--snapshot", "s", "--volume", "copy", "--name", "t"], 2),
    ] {
        let run = env.run(arguments);
        assert_eq!(run.code, Some(code), "{arguments:?}: {}", run.stderr);
        assert!(!run.stderr.is_empty(), "{arguments:?}");
    }
}
