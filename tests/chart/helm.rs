//! Runs Helm on the chart.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use calf_test_kit::built;
use serde_json::Value;

/// The chart's directory.
pub(crate) const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/calf");

/// Where `make` puts Helm.
pub(crate) fn program() -> PathBuf {
    built::tools_dir().join("helm")
}

/// A file of this repository.
pub(crate) fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A YAML document.
pub(crate) fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// Runs Helm with `values` as a values file; returns its output, or why it fails.
fn helm(arguments: &[&str], values: &str) -> Result<String, String> {
    let mut child = Command::new(program())
        .args(arguments)
        .args(["--values", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start helm");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(values.as_bytes()).expect("give helm the values");
    drop(stdin);
    let output = child.wait_with_output().expect("wait for helm");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// The objects that a release renders from the chart.
pub(crate) struct Objects(Vec<Value>);

/// Renders the chart as release `release`, or returns why that fails.
pub(crate) fn try_render(release: &str, values: &str) -> Result<Objects, String> {
    let text = helm(&["template", release, CHART, "--namespace", "storage"], values)?;
    Ok(Objects::parse(&text))
}

/// Renders the chart in `directory` as release `calf`, with further arguments for Helm.
pub(crate) fn render_with(directory: &Path, arguments: &[&str], values: &str) -> Objects {
    let directory = directory.to_str().expect("UTF-8");
    let all = [&["template", "calf", directory, "--namespace", "storage"], arguments].concat();
    Objects::parse(&helm(&all, values).unwrap_or_else(|e| panic!("{arguments:?}: {e}")))
}

/// Renders the chart as release `calf`.
pub(crate) fn render(values: &str) -> Objects {
    try_render("calf", values).unwrap_or_else(|e| panic!("{values}: {e}"))
}

/// The notes after an installation.
pub(crate) fn notes(values: &str) -> String {
    let arguments = ["install", "calf", CHART, "--namespace", "storage", "--dry-run=client"];
    helm(&arguments, values).unwrap_or_else(|e| panic!("{values}: {e}"))
}

pub(crate) fn lint_finds_nothing() {
    let said = helm(&["lint", "--strict", CHART], "{}").unwrap_or_else(|e| panic!("{e}"));
    assert!(said.contains("0 chart(s) failed"), "{said}");
    for word in ["[WARNING]", "[ERROR]"] {
        assert!(!said.contains(word), "{said}");
    }
}

impl Objects {
    /// What Helm printed.
    pub(crate) fn parse(text: &str) -> Self {
        let objects: Vec<Value> =
            serde_saphyr::from_multiple(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        Self(objects.into_iter().filter(|object| !object.is_null()).collect())
    }

    /// All of them, as `kind/name`, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |object: &Value| format!("{}/{}", text(&object["kind"]), id(object));
        let mut names: Vec<String> = self.0.iter().map(name).collect();
        names.sort();
        names
    }

    /// Those of a kind.
    pub(crate) fn all(&self, kind: &str) -> impl Iterator<Item = &Value> + use<'_> {
        let kind = kind.to_owned();
        self.0.iter().filter(move |object| object["kind"].as_str() == Some(&kind))
    }

    /// The only one of a kind.
    pub(crate) fn one(&self, kind: &str) -> &Value {
        let found: Vec<&Value> = self.all(kind).collect();
        let [object] = found.as_slice() else { panic!("{} objects {kind}", found.len()) };
        object
    }

    /// One by kind and name.
    pub(crate) fn named(&self, kind: &str, name: &str) -> &Value {
        let mut found = self.all(kind).filter(|object| id(object) == name);
        found.next().unwrap_or_else(|| panic!("no {kind} {name} in {:?}", self.names()))
    }

    /// The pod that runs on each node.
    pub(crate) fn pod(&self) -> &Value {
        &self.one("DaemonSet")["spec"]["template"]["spec"]
    }

    /// One of the pod's containers, init steps included.
    pub(crate) fn container(&self, name: &str) -> &Value {
        let mut found = self.containers().filter(|container| container["name"] == name);
        found.next().unwrap_or_else(|| panic!("no container {name}"))
    }

    /// The pod's containers, init steps included.
    pub(crate) fn containers(&self) -> impl Iterator<Item = &Value> {
        list(&self.pod()["initContainers"]).iter().chain(list(&self.pod()["containers"]))
    }

    /// The arguments of one of the containers.
    pub(crate) fn arguments(&self, container: &str) -> Vec<&str> {
        list(&self.container(container)["args"]).iter().map(text).collect()
    }
}

/// The name of an object.
pub(crate) fn id(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

/// A string.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no string: {value}"))
}

/// A list; a missing value counts as an empty list.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
