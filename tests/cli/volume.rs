//! The parts of `calf volume` that need no kernel: `tests/kernel/cli.rs` has the rest.

use calf_test_kit::command_line::TestEnv;

/// A pool with three volumes, each of which comes first in one order: "a", which is old and wrote
/// most, "b", which is the largest, and "c", which is the youngest.
fn environment() -> TestEnv {
    let env = TestEnv::new();
    let image = env.image("image", 1 << 20, 4096);
    env.ok(&["template", "import", image.to_str().expect("UTF-8"), "--name", "base"]);
    env.volume("b", 3 << 20, "2026-01-02T00:00:00Z", 8192);
    env.volume("c", 2 << 20, "2026-01-03T00:00:00Z", 4096);
    env.volume("a", 1 << 20, "2026-01-01T00:00:00Z", 65536);
    env
}

/// The output of a command: the first word of each line.
fn names(env: &TestEnv, arguments: &[&str]) -> Vec<String> {
    let run = env.ok(&[arguments, &["-o", "name"]].concat());
    run.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn a_list_is_ordered_as_asked_for() {
    let env = environment();
    for (options, order) in [
        (&[][..], ["a", "b", "c"]),
        (&["--reverse"], ["c", "b", "a"]),
        (&["--sort", "id"], ["a", "b", "c"]),
        (&["--sort", "age"], ["c", "b", "a"]),
        (&["--sort", "size"], ["b", "c", "a"]),
        (&["--sort", "used"], ["a", "b", "c"]),
        (&["--sort", "used", "-r"], ["c", "b", "a"]),
    ] {
        let list = [&["volume", "list"], options].concat();
        assert_eq!(names(&env, &list), order, "{options:?}");
        let json = env.json(&list);
        let ids: Vec<&str> =
            json["volumes"].as_array().unwrap().iter().map(|v| v["id"].as_str().unwrap()).collect();
        assert_eq!(ids, order, "{options:?}");
    }
    assert_eq!(env.run(&["volume", "list", "--sort", "colour"]).code, Some(2));
}

#[test]
fn a_list_tells_sizes_in_units_and_how_old_each_is() {
    let env = environment();
    let list = env.ok(&["volume", "list"]).stdout;
    let lines: Vec<Vec<&str>> =
        list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["ID", "STATE", "DEVICE", "TEMPLATE", "SIZE", "USED", "AGE"]);
    assert_eq!(lines[1][..8], ["a", "inactive", "-", "base", "1", "MiB", "64", "KiB"], "{list}");
    let age = lines[1][8];
    assert!(age.ends_with(['d', 'y']) && age.len() > 1, "{list}");
    assert_eq!(env.json(&["volume", "inspect", "a"])["size"], 1 << 20);
}

#[test]
fn names_are_for_xargs() {
    let env = environment();
    assert_eq!(names(&env, &["template", "list"]), ["base"]);
    assert_eq!(names(&env, &["template", "inspect", "base"]), ["base"]);
    assert_eq!(names(&env, &["volume", "inspect", "b"]), ["b"]);
    assert_eq!(names(&env, &["status"]), Vec::<String>::new());
    assert!(names(&env, &["volume", "delete", "a", "b"]) == ["a", "b"]);
    let run = env.run(&["volume", "inspect", "a", "-o", "name"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(3), ""));
    assert!(run.stderr.starts_with("error: "), "errors are for people: {}", run.stderr);
}

#[test]
fn quiet_leaves_results_and_errors() {
    let env = environment();
    let image = env.image("other", 1 << 20, 8192);
    let import = ["template", "import", image.to_str().unwrap(), "--name", "other", "--quiet"];
    let run = env.ok(&import);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""), "no progress, no advice");
    let run = env.ok(&["-q", "volume", "delete", "a"]);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
    assert!(env.ok(&["-q", "volume", "list"]).stdout.starts_with("ID "));
    assert_eq!(env.json(&["-q", "volume", "rm", "b"])["deleted"][0], "b");
    assert!(env.run(&["-q", "volume", "inspect", "a"]).stderr.starts_with("error: "));
    assert_eq!(env.run(&["-q", "-v", "volume", "list"]).code, Some(2));
}

#[test]
fn what_was_not_there_is_not_said_to_be_deleted() {
    let env = environment();
    let run = env.ok(&["volume", "delete", "nope", "a"]);
    assert_eq!(run.stdout, "deleted volume a\nthere is no volume nope\n");
    let json = env.json(&["volume", "delete", "nope"]);
    assert_eq!(json, serde_json::json!({"deleted": [], "absent": ["nope"]}));
}

#[test]
fn the_status_says_what_volumes_may_come_to_take() {
    let env = environment();
    let bounds = ["--overcommit-ratio", "2.5", "--max-kernel-memory", "1Gi", "status"];
    let pool = &env.json(&bounds)["pool"];
    assert!(pool["committed"].as_u64() > Some(0), "{pool}");
    assert_eq!(pool["kernelMemoryCommitted"].as_u64().map(|bytes| bytes % 33), Some(0), "{pool}");
    assert_eq!(
        (&pool["overcommitRatio"], &pool["maxKernelMemory"]),
        (&2.5.into(), &(1 << 30).into())
    );
    let human = env.ok(&bounds).stdout;
    assert!(
        human.contains("volumes may still write") && human.contains("(at most 2.5)"),
        "{human}"
    );
    assert!(human.contains("of kernel memory (at most 1 GiB)"), "{human}");
    assert!(env.json(&["status"])["pool"]["overcommitRatio"].is_null());
}

#[test]
fn a_volume_is_found_by_its_device_mapper_name() {
    let env = environment();
    let former = format!("calf-{}", calf::Key::of("b"));
    let id = env.json(&["status"])["pool"]["id"].as_str().unwrap().to_owned();
    let name = format!("calf-{id}-{}", calf::Key::of("b"));
    assert_eq!(names(&env, &["volume", "inspect", &former]), ["b"]);
    for name in [name.clone(), format!("{name}-ro"), format!("/dev/mapper/{name}")] {
        assert_eq!(names(&env, &["volume", "inspect", &name]), ["b"], "{name}");
    }
    // An id takes precedence, whatever it looks like.
    env.volume(&name, 1 << 20, "2026-01-01T00:00:00Z", 4096);
    assert_eq!(names(&env, &["volume", "inspect", &name]), [name.as_str()]);
}

#[test]
fn a_path_that_is_no_volume_is_not_found() {
    let env = environment();
    let none = format!("calf-{}", calf::Key::of("none"));
    for name in ["/", "/dev/null", "/nowhere", "volume", none.as_str()] {
        let run = env.run(&["volume", "inspect", name]);
        assert_eq!(run.code, Some(3), "{name}: {run:?}");
        assert!(run.stderr.contains("no such volume"), "{name}: {run:?}");
    }
}
