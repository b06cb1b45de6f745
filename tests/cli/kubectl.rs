//! `kubectl calf`: the binary under its name as a plugin, with a program that plays kubectl.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use calf_test_kit::built;
use calf_test_kit::command_line::{Run, TestEnv};
use serde_json::{Value, json};

/// Plays kubectl: notes its arguments, lists the pods in a file, and runs a script per pod, to which
/// it gives calf's arguments.
const KUBECTL: &str = r#"#!/bin/sh
here=${0%/*}
echo "$*" >>"$here/log"
while [ "${1#-}" != "$1" ]; do shift; done
case $1 in
get) . "$here/pods" ;;
exec) pod=$3 && shift 7 && . "$here/pod-$pod" ;;
esac
"#;

/// A pod's script that is the real calf on the test's pool.
const REAL: &str = "exec \"$here/calf\" \"$@\"";

/// A cluster whose nodes are scripts.
struct Cluster {
    env: TestEnv,
    pods: Vec<Value>,
}

impl Cluster {
    fn new() -> Self {
        let env = TestEnv::new();
        let cluster = Self { env, pods: Vec::new() };
        fs::create_dir(cluster.bin("")).expect("a directory");
        symlink(built::calf(), cluster.bin("calf")).expect("a link");
        symlink(built::calf(), cluster.bin("kubectl-calf")).expect("a link");
        cluster.script("kubectl", KUBECTL);
        cluster
    }

    fn bin(&self, name: &str) -> PathBuf {
        self.env.path("bin").join(name)
    }

    fn script(&self, name: &str, text: &str) {
        fs::write(self.bin(name), text).expect("a script");
        fs::set_permissions(self.bin(name), fs::Permissions::from_mode(0o755)).expect("its mode");
    }

    /// Adds a node whose driver answers as `script` does.
    fn node(&mut self, name: &str, script: &str) {
        self.pod(name, "Running", "calf");
        self.script(&format!("pod-calf-{name}"), script);
    }

    fn pod(&mut self, node: &str, phase: &str, container: &str) {
        self.pods.push(json!({
            "metadata": { "name": format!("calf-{node}"), "namespace": "storage" },
            "spec": { "nodeName": node, "containers": [{ "name": container }] },
            "status": { "phase": phase },
        }));
        let list = json!({ "items": self.pods }).to_string();
        self.script("pods", &format!("cat <<'END'\n{list}\nEND\n"));
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(self.bin("kubectl-calf"));
        command.args(arguments).env_clear().env("CALF_POOL", self.env.pool());
        command.env("PATH", format!("{}:/usr/bin:/bin", self.bin("").display()));
        command.output().expect("run the plugin").into()
    }

    fn json(&self, arguments: &[&str]) -> (Run, Value) {
        let run = self.run(&[arguments, &["-o", "json"]].concat());
        let value =
            serde_json::from_str(&run.stdout).unwrap_or_else(|why| panic!("{why}: {run:?}"));
        (run, value)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.bin("log")).expect("the log")
    }
}

/// A cluster of two nodes, of which the second has the pool of the real calf, with two volumes.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    let image = cluster.env.image("image", 1 << 20, 4096);
    cluster.env.ok(&["template", "import", image.to_str().expect("UTF-8"), "--name", "base"]);
    cluster.env.volume("small", 1 << 20, "2026-01-01T00:00:00Z", 4096);
    cluster.env.volume("large", 1 << 20, "2026-01-01T00:00:00Z", 65536);
    cluster.node("worker-2", REAL);
    let other = json!({ "volumes": [{ "id": "other", "allocated": 8192 }] });
    cluster.node("worker-1", &format!("echo '{other}'"));
    cluster
}

#[test]
fn lists_have_the_volumes_of_all_nodes() {
    let cluster = cluster();
    let run = cluster.run(&["volumes"]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
    let rows: Vec<Vec<&str>> =
        run.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..3], ["NODE", "ID", "STATE"]);
    // What an answer does not have is shown as not known.
    assert_eq!(rows[1][..3], ["worker-1", "other", "-"]);
    assert_eq!(rows[2][..3], ["worker-2", "large", "inactive"]);
    assert_eq!(rows[3][..3], ["worker-2", "small", "inactive"]);

    let (_, json) = cluster.json(&["volumes"]);
    assert_eq!(json["failed"], json!([]));
    assert_eq!(json["volumes"][1]["node"], "worker-2");
    assert_eq!(json["volumes"][1]["pod"], "storage/calf-worker-2");
    assert_eq!(json["volumes"][1]["allocated"], 65536);

    assert_eq!(cluster.run(&["volumes", "-o", "name"]).stdout, "other\nlarge\nsmall\n");
    assert_eq!(cluster.run(&["top", "--count", "2", "-o", "name"]).stdout, "large\nother\n");
}

#[test]
fn options_reach_kubectl() {
    let cluster = cluster();
    let options = ["-n", "storage", "--context", "prod", "--kubeconfig", "/k", "--as", "eve"];
    let run = cluster.run(&[&options[..], &["volumes", "--node", "worker-2"]].concat());
    assert_eq!(run.code, Some(0), "{run:?}");
    let flags = "--context=prod --kubeconfig=/k --as=eve";
    let labels = "app.kubernetes.io/name=calf,app.kubernetes.io/component=driver";
    let get = format!("{flags} get pods --namespace=storage --selector={labels} --output=json");
    let exec = format!(
        "{flags} exec --namespace=storage calf-worker-2 --container calf -- calf volume list --output json"
    );
    assert_eq!(cluster.log().lines().collect::<Vec<_>>(), [get, exec], "only the node asked for");

    cluster.run(&["volumes"]);
    assert!(cluster.log().contains("get pods --all-namespaces"));
}

#[test]
fn templates_and_pools_are_shown_with_their_nodes() {
    let mut cluster = cluster();
    cluster.script("pod-calf-worker-1", REAL);
    cluster.node("worker-3", REAL);
    for command in ["templates", "status"] {
        let run = cluster.run(&[command]);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
        let nodes = run.stdout.lines().skip(1).map(|line| line.split_whitespace().next());
        let expected = ["worker-1", "worker-2", "worker-3"].map(Some);
        assert_eq!(nodes.collect::<Vec<_>>(), expected, "{run:?}");
    }
    let (_, status) = cluster.json(&["status"]);
    assert_eq!(status["nodes"][2]["node"], "worker-3");
    assert_eq!(status["nodes"][2]["volumes"]["inactive"], 2);
    let (_, templates) = cluster.json(&["templates"]);
    assert_eq!(templates["templates"][0]["name"], "base");
}

/// What a doctor finds is an answer, not a failure to answer.
#[test]
fn a_node_that_is_not_ready_is_told() {
    let mut cluster = Cluster::new();
    let check = json!({ "name": "pool", "verdict": "FAIL", "detail": "none", "help": "make it" });
    let ill = json!({ "ready": false, "checks": [check] });
    cluster.node("ill", &format!("echo '{ill}'; echo 'exit code 1' >&2; exit 1"));
    cluster.node("well", "echo '{\"ready\": true, \"checks\": []}'");
    let run = cluster.run(&["doctor"]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""), "{run:?}");
    assert!(run.stdout.contains("ill   FAIL     pool   none\n"), "{run:?}");
    assert!(run.stdout.contains("help: make it"), "{run:?}");
    assert_eq!(cluster.run(&["doctor", "--node", "well"]).code, Some(0));
}

#[test]
fn a_node_without_an_answer_is_named_and_the_others_are_shown() {
    const ERROR: &str = r#"{"error":{"message":"cannot open pool /p: gone","help":["mount it"]}}"#;
    for (script, why) in [
        ("echo 'error: connection refused' >&2; exit 1", "connection refused"),
        ("exit 3", "exit status: 3"),
        ("echo no json", "its answer is no JSON"),
        ("echo '{\"templates\": []}'", "its answer has no `volumes`"),
        ("echo '{\"volumes\": {}}'", "its answer has no `volumes`"),
        ("echo '{\"volumes\": [1]}'", "its answer has no `volumes`"),
        ("printf '\\033[2J' >&2; exit 1", "\\u{1b}[2J"),
        (
            &format!("echo '{ERROR}' >&2; echo 'command terminated' >&2; exit 3"),
            "cannot open pool /p: gone\nhelp: mount it",
        ),
    ] {
        let mut cluster = cluster();
        cluster.node("worker-9", script);
        let run = cluster.run(&["volumes"]);
        assert_eq!(run.code, Some(1), "{run:?}");
        assert_eq!(run.stdout.lines().count(), 4, "the other nodes are shown: {run:?}");
        assert!(run.stderr.contains("node worker-9 (pod storage/calf-worker-9)"), "{run:?}");
        assert!(run.stderr.contains(why), "{why}: {run:?}");
        let (run, json) = cluster.json(&["volumes"]);
        assert_eq!((run.code, &json["failed"][0]["node"]), (Some(1), &json!("worker-9")));
        assert_eq!(json["volumes"].as_array().map(Vec::len), Some(3));
    }
}

#[test]
fn a_silent_node_is_given_up() {
    // In turn kubectl hangs, and a program that it has started keeps its output open.
    for script in ["exec sleep 60", "sleep 60 & exit 0"] {
        let mut cluster = cluster();
        cluster.node("worker-9", script);
        let started = Instant::now();
        let run = cluster.run(&["volumes", "--timeout", "2s"]);
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
        assert_eq!((run.code, run.stdout.lines().count()), (Some(1), 4), "{run:?}");
        assert!(run.stderr.contains("worker-9") && run.stderr.contains("no answer within 2s"));
    }
}

#[test]
fn a_pod_that_cannot_answer_is_not_asked() {
    let mut cluster = cluster();
    cluster.pod("starting", "Pending", "calf");
    cluster.pod("strange", "Running", "other");
    let run = cluster.run(&["volumes"]);
    assert_eq!((run.code, run.stdout.lines().count()), (Some(1), 4), "{run:?}");
    assert!(run.stderr.contains("the pod is Pending"), "{run:?}");
    assert!(run.stderr.contains("the pod has no container calf"), "{run:?}");
    assert!(!cluster.log().contains("calf-starting"));
}

#[test]
fn what_is_missing_is_told_with_a_remedy() {
    let cluster = cluster();
    let run = cluster.run(&["status", "--node", "worker-7"]);
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.stderr.contains("worker-7") && run.stderr.contains("help:"), "{run:?}");

    for (pods, code, why) in [
        ("echo '{\"items\": []}'", 3, "no pod on a node has these labels"),
        ("echo 'pods is forbidden' >&2; exit 1", 1, "pods is forbidden"),
        ("echo nothing", 1, "kubectl printed no list of pods"),
        ("echo '{\"items\": [{}]}'", 1, "kubectl printed no list of pods"),
    ] {
        cluster.script("pods", pods);
        let run = cluster.run(&["volumes"]);
        assert_eq!((run.code, run.stdout.as_str()), (Some(code), ""), "{run:?}");
        assert!(run.stderr.contains(why), "{run:?}");
    }

    fs::remove_file(cluster.bin("kubectl")).expect("kubectl goes");
    let mut command = Command::new(cluster.bin("kubectl-calf"));
    let run: Run = command
        .arg("volumes")
        .env_clear()
        .env("PATH", Path::new("/"))
        .output()
        .expect("run")
        .into();
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.stderr.contains("cannot run kubectl: no such program is in PATH"), "{run:?}");
}

#[test]
fn help_is_that_of_the_plugin() {
    let cluster = Cluster::new();
    for command in [&["--help"][..], &["volumes", "-h"], &["top", "--help"]] {
        let run = cluster.run(command);
        assert_eq!(run.code, Some(0), "{run:?}");
        assert!(run.stdout.contains("Usage: kubectl calf"), "{run:?}");
        assert!(run.stdout.lines().all(|line| line.chars().count() <= 100), "{run:?}");
    }
}
