//! Help, manual and version of the command line.

use std::io::Read as _;

use calf_test_kit::command_line::TestEnv;

const COMMANDS: &[&[&str]] = &[
    &[],
    &["template"],
    &["template", "import"],
    &["template", "create"],
    &["template", "commit"],
    &["template", "list"],
    &["template", "inspect"],
    &["template", "warm"],
    &["template", "remove"],
    &["volume"],
    &["volume", "create"],
    &["volume", "fork"],
    &["volume", "list"],
    &["volume", "inspect"],
    &["volume", "activate"],
    &["volume", "expand"],
    &["volume", "resize"],
    &["volume", "stage"],
    &["volume", "unstage"],
    &["volume", "publish"],
    &["volume", "publish-inline"],
    &["volume", "unpublish"],
    &["volume", "deactivate"],
    &["volume", "delete"],
    &["volume", "recover"],
    &["volume", "rollback"],
    &["snapshot"],
    &["snapshot", "create"],
    &["snapshot", "list"],
    &["snapshot", "inspect"],
    &["snapshot", "activate"],
    &["snapshot", "deactivate"],
    &["snapshot", "diff"],
    &["snapshot", "allocated"],
    &["snapshot", "export"],
    &["snapshot", "import"],
    &["snapshot", "delete"],
    &["snapshot", "group"],
    &["snapshot", "group", "create"],
    &["snapshot", "group", "list"],
    &["snapshot", "group", "inspect"],
    &["snapshot", "group", "delete"],
    &["pool", "create"],
    &["status"],
    &["doctor"],
    &["reconcile"],
    &["serve"],
    &["udev-rules"],
    &["man"],
    &["completions"],
];

#[test]
fn every_command_explains_itself() {
    let env = TestEnv::new();
    for command in COMMANDS {
        for flag in ["-h", "--help"] {
            let run = env.ok(&[command, &[flag][..]].concat());
            assert!(run.stdout.contains("Usage: calf"), "{command:?}");
            assert!(run.stdout.lines().all(|line| line.chars().count() <= 100), "{command:?}");
            assert_eq!(run.stderr, "");
        }
    }
    assert!(env.ok(&["--help"]).stdout.contains("Exit codes:"));
    assert!(env.ok(&["-h"]).stdout.contains("Examples:"));
    assert!(!env.pool().exists(), "help makes nothing");
}

/// A command's own options come first, and the options of all commands last.
#[test]
fn a_commands_own_options_come_before_the_global_ones() {
    const GLOBAL: [&str; 13] = [
        "--fallback",
        "--kata-direct-volumes",
        "--max-kernel-memory",
        "--min-download-rate",
        "--output",
        "--overcommit-ratio",
        "--pool",
        "--quiet",
        "--registry-auth-file",
        "--require-mount",
        "--reserve",
        "--tls-ca",
        "--verbose",
    ];
    let env = TestEnv::new();
    for command in COMMANDS {
        let help = env.ok(&[command, &["--help"][..]].concat()).stdout;
        let (own, global) = help.split_once("\nGlobal options:\n").unwrap();
        assert!(own.contains("\nOptions:\n"), "{command:?}: {help}");
        let is_shared = |option: &String| GLOBAL.contains(&option.as_str());
        assert!(!options(own).iter().any(is_shared), "{command:?}: {help}");
        let mut shared = options(global);
        shared.sort();
        assert_eq!(shared, GLOBAL, "{command:?}: {help}");
    }
}

/// The options that a part of a help text explains.
fn options(help: &str) -> Vec<String> {
    // The text below the options is not indented.
    let lines = help.lines().filter(|line| line.starts_with(' '));
    let lines = lines.map(str::trim_start).filter(|line| line.starts_with('-'));
    let words = |line: &str| {
        let word = line.split([' ', ',', '.']).find(|word| word.starts_with("--"));
        word.map(str::to_owned)
    };
    lines.filter_map(words).collect()
}

#[test]
fn the_version_is_told() {
    let run = TestEnv::new().ok(&["--version"]);
    assert_eq!(run.stdout, format!("calf {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_malformed_command_line_is_2() {
    let env = TestEnv::new();
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["template", "import"],
        &["template", "import", "x"],
        &["volume", "create", "v", "--template", "t", "--size", "huge"],
        &["volume", "create", "v", "--template", "t", "--mode", "0999"],
        &["volume", "expand", "v"],
        &["volume", "publish", "v", "/t", "--fs-type", "ext4"],
        &["volume", "publish-inline", "v", "/t", "--template", "t", "--mount-option", "ro"],
        &["serve", "--node-id", "n"],
        &["status", "--output", "xml"],
        &["status", "--overcommit-ratio", "0"],
        &["status", "--max-kernel-memory", "much"],
        &["serve", "--endpoint", "unix:///n/s", "--node-id", "n", "--inline-templates", "a*b"],
        &["serve", "--endpoint", "unix:///n/s", "--node-id", "n", "--inline-max-cow-limit", "4Ki"],
        &["serve", "--endpoint", "unix:///n/s", "--node-id", "n", "--inline-allow", "root"],
        &["serve", "--endpoint", "unix:///n/s", "--node-id", "n", "--kcopyd-subjob-size", "63Ki"],
        &["serve", "--endpoint", "unix:///n/s", "--node-id", "n", "--kcopyd-subjob-size", "2Mi"],
    ] {
        let run = env.run(arguments);
        assert_eq!(run.code, Some(2), "{arguments:?}: {run:?}");
        assert!(run.stdout.is_empty() && !run.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_node_without_a_name_is_not_served() {
    let env = TestEnv::new();
    let run = env.run(&["serve", "--endpoint", "unix:///nowhere/csi.sock"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("help: give --node-id"), "{}", run.stderr);
}

#[test]
fn a_machine_can_be_examined_before_there_is_a_pool() {
    let env = TestEnv::new();
    let run = env.run(&["doctor", "--output", "json"]);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let failed = checks.iter().any(|check| check["verdict"] == "FAIL");
    assert_eq!(run.code, Some(if failed { 1 } else { 0 }));
    assert_eq!(report["ready"], !failed);
    for check in checks {
        assert_eq!(check["verdict"] == "OK", check["help"].is_null(), "{check}");
    }
    let human = env.run(&["doctor"]).stdout;
    for check in checks {
        assert!(human.contains(check["name"].as_str().unwrap()), "{check}");
    }
    assert!(!env.pool().exists(), "an examination makes nothing");
}

#[test]
fn rules_and_completions_are_printed() {
    let env = TestEnv::new();
    let rules = env.ok(&["udev-rules"]).stdout;
    assert!(rules.contains("CALF-") && rules.contains("blkid"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(env.ok(&["completions", shell]).stdout.contains("calf"), "{shell}");
    }
}

#[test]
fn the_manual_is_printed_and_installed() {
    let env = TestEnv::new();
    assert!(env.ok(&["man"]).stdout.contains("calf \\- Copy"));
    let page = env.ok(&["man", "volume", "ls"]).stdout;
    assert!(page.contains("calf\\-volume\\-list \\- List all volumes"), "an alias will do: {page}");
    assert_eq!(env.run(&["man", "volume", "frobnicate"]).code, Some(2));

    let directory = env.path("share/man/man1");
    let directory = directory.to_str().unwrap();
    let run = env.ok(&["man", "--install", directory]);
    assert!(run.stdout.starts_with("installed "), "{run:?}");
    let installed = std::fs::read_to_string(format!("{directory}/calf-volume-list.1")).unwrap();
    assert_eq!(installed, page);
    assert!(std::fs::read_dir(directory).unwrap().count() > COMMANDS.len() / 2);
    assert!(!env.pool().exists(), "a manual makes no pool");
}

#[test]
fn a_reader_that_goes_away_is_fine() {
    let env = TestEnv::new();
    for arguments in [&["udev-rules"][..], &["completions", "bash"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut child = env.command(arguments).stdout(writer).spawn().unwrap();
        assert!(child.wait().unwrap().success(), "{arguments:?}");
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(stderr, "", "{arguments:?}");
    }
}
