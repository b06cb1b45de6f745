//! Access to the cluster: kubectl, as an administrator would use it, with JSON.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use calf_test_kit::kernel::environment::stretched;

use serde_json::{Value, json};

use crate::Result;
use crate::tools;

/// Pause between two checks in a wait.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(crate) struct Cluster {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    /// The directory for the last state of failed scenarios.
    logs: PathBuf,
}

impl Cluster {
    pub(crate) fn new(kubeconfig: &Path, logs: &Path) -> Result<Self> {
        Ok(Self {
            kubectl: tools::program("kubectl")?,
            kubeconfig: kubeconfig.to_owned(),
            logs: logs.to_owned(),
        })
    }

    /// The same cluster for somebody with this token, and nothing else.
    pub(crate) fn with_token(&self, name: &str, token: &str) -> Result<Self> {
        let text = self.kubectl(&["config", "view", "--raw", "--output=json"])?;
        let mut config = parse(&text)?;
        config["users"][0]["user"] = json!({ "token": token });
        let kubeconfig = self.kubeconfig.with_file_name(format!("{name}.kubeconfig"));
        fs::write(&kubeconfig, config.to_string())
            .map_err(|error| format!("cannot write {}: {error}", kubeconfig.display()))?;
        Ok(Self { kubeconfig, ..self.clone() })
    }

    /// Returns kubectl's standard output. If kubectl fails, the error has its message.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with_input(arguments, "")
    }

    fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        let failed = |error: std::io::Error| format!("cannot run kubectl: {error}");
        let mut child = Command::new(&self.kubectl)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // If kubectl ends before it has read everything, its exit code shows that.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(failed)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("kubectl {}: {}", arguments.join(" "), said.trim()))
    }

    /// Applies manifests that name no namespace, into this one.
    pub(crate) fn apply_in(&self, namespace: &str, manifests: &str) -> Result<()> {
        self.kubectl_with_input(&["apply", "--namespace", namespace, "--filename", "-"], manifests)
            .map(drop)
            .map_err(|error| format!("{error}\n{manifests}"))
    }

    /// Creates an object, which must not exist.
    pub(crate) fn create(&self, manifest: &str) -> Result<String> {
        self.kubectl_with_input(&["create", "--filename", "-"], manifest)
    }

    /// Writes a whole object that was read before.
    pub(crate) fn replace(&self, manifest: &str) -> Result<String> {
        self.kubectl_with_input(&["replace", "--filename", "-"], manifest)
    }

    /// Requests the deletion of the objects in manifests, in this namespace or cluster-wide.
    pub(crate) fn delete_in(&self, namespace: &str, manifests: &str) -> Result<()> {
        let arguments = ["delete", "--namespace", namespace, "--wait=false", "--filename", "-"];
        self.kubectl_with_input(&arguments, manifests).map(drop)
    }

    /// An object, if it exists. `what` is for example `["pod", "name", "--namespace", "x"]`.
    pub(crate) fn get(&self, what: &[&str]) -> Result<Option<Value>> {
        let text =
            self.kubectl(&[&["get", "--output=json", "--ignore-not-found"], what].concat())?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        parse(&text).map(Some)
    }

    /// The objects of a kind.
    pub(crate) fn list(&self, what: &[&str]) -> Result<Vec<Value>> {
        let text = self.kubectl(&[&["get", "--output=json"], what].concat())?;
        match parse(&text)?.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Err(format!("kubectl get {} gave no list", what.join(" "))),
        }
    }

    /// Repeats a query until it has an answer. An error of the query ends the wait.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        mut question: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let deadline = Instant::now() + stretched(limit);
        loop {
            if let Some(answer) = question()? {
                return Ok(answer);
            }
            if Instant::now() > deadline {
                return Err(format!("waited {} s in vain for {what}", stretched(limit).as_secs()));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Writes the state of a namespace (events, pods, volumes, logs of containers) to a file in the
    /// log directory, for finding out why a scenario failed. Returns its path.
    pub(crate) fn record_state(&self, namespace: &str) -> PathBuf {
        let everything = "nodes,pods,pvc,pv,volumesnapshots,volumesnapshotcontents,csistoragecapacities,\
             volumeattachments,csidrivers,csinodes";
        let mut text = String::new();
        for arguments in [
            &["get", everything, "--all-namespaces", "--output=wide"][..],
            &["get", "events", "--all-namespaces", "--sort-by=.metadata.creationTimestamp"],
            &["describe", "pods,pvc,volumesnapshots", "--namespace", namespace],
        ] {
            let said = self.kubectl(arguments).unwrap_or_else(|error| error);
            text += &format!("$ kubectl {}\n{said}\n", arguments.join(" "));
        }
        for pod in self.list(&["pods", "--all-namespaces"]).unwrap_or_default() {
            let field = |name: &str| pod["metadata"][name].as_str().unwrap_or_default().to_owned();
            let (namespace, name) = (field("namespace"), field("name"));
            let arguments = [
                "logs",
                &name,
                "--namespace",
                &namespace,
                "--all-containers",
                "--prefix",
                "--tail=300",
            ];
            let said = self.kubectl(&arguments).unwrap_or_else(|error| error);
            text += &format!("$ kubectl {}\n{said}\n", arguments.join(" "));
        }
        let path = self.logs.join(format!("{namespace}.state"));
        if let Err(error) = fs::write(&path, text) {
            eprintln!("cannot write {}: {error}", path.display());
        }
        path
    }
}

fn parse(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| format!("kubectl wrote no JSON: {error}\n{text}"))
}
