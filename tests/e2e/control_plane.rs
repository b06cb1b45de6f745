//! The control plane of a run: etcd, kube-apiserver, kube-controller-manager, kube-scheduler and
//! snapshot-controller, as processes of this machine in the run's network namespace.
//!
//! Admission, authorization and feature gates are those of a normal cluster, with the health of
//! volumes switched on. The differences are one etcd that does not sync (its data is only for this
//! run), no leader election (there are no other candidates), and an audit log of pod creations, from
//! whose microseconds the latency is computed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::Result;
use crate::certificates::Authority;
use crate::cluster::Cluster;
use crate::component::Component;
use crate::network::{KUBERNETES_SERVICE, MACHINE};
use crate::snapshot_controller;
use crate::tools;

const ETCD: &str = "http://127.0.0.1:2379";
const ETCD_PEER: &str = "http://127.0.0.1:2380";
/// Its first address is [`KUBERNETES_SERVICE`].
const SERVICES: &str = "10.96.0.0/24";
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Long enough for a loaded machine.
const START: Duration = Duration::from_secs(300);

/// The node's name, as in its certificate.
pub(crate) const NODE_NAME: &str = "node";

pub(crate) struct ControlPlane {
    /// An administrator's.
    pub(crate) kubeconfig: PathBuf,
    /// Kubelet's: `system:node:node`.
    pub(crate) node_kubeconfig: PathBuf,
    /// The authority that signed every client.
    pub(crate) client_ca: PathBuf,
    /// One line of JSON for each pod that was created.
    pub(crate) audit_log: PathBuf,
    /// In the order in which they are stopped: each before the programs that it calls.
    components: Vec<Component>,
}

impl ControlPlane {
    /// Starts the control plane, with its state below `state`, and waits until the API answers.
    pub(crate) fn start(state: &Path, logs: &Path) -> Result<Self> {
        let pki = state.join("pki");
        for directory in [&pki, logs] {
            fs::create_dir_all(directory)
                .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
        }
        let authority = Authority::new(&pki)?;
        let server = format!("https://{MACHINE}");
        let client =
            |name: &str, user: &str, group| authority.kubeconfig(&server, name, user, group);
        let mut plane = Self {
            kubeconfig: client("admin", "admin", Some("system:masters"))?,
            node_kubeconfig: client(
                "kubelet",
                &format!("system:node:{NODE_NAME}"),
                Some("system:nodes"),
            )?,
            client_ca: authority.certificate(),
            audit_log: logs.join("audit.jsonl"),
            components: Vec::new(),
        };
        let accounts = authority.key_pair("service-accounts")?;
        plane.run("etcd", etcd(state), logs)?;
        let arguments = plane.apiserver(&authority, &accounts.private, &accounts.public, state)?;
        plane.run("kube-apiserver", arguments, logs)?;
        plane.wait_for_api(logs)?;

        let name = "kube-controller-manager";
        let kubeconfig = client(name, "system:kube-controller-manager", None)?;
        let mut arguments = as_client(&kubeconfig, &state.join(name));
        arguments.extend([
            flag("root-ca-file", authority.certificate().display()),
            flag("service-account-private-key-file", accounts.private.display()),
            flag("use-service-account-credentials", true),
            // The node routes its pods itself.
            flag("allocate-node-cidrs", false),
        ]);
        plane.run(name, arguments, logs)?;
        let name = "kube-scheduler";
        let kubeconfig = client(name, "system:kube-scheduler", None)?;
        plane.run(name, as_client(&kubeconfig, &state.join(name)), logs)?;
        let kubeconfig = client(snapshot_controller::NAME, "admin", Some("system:masters"))?;
        let cluster = Cluster::new(&plane.kubeconfig, logs)?;
        let component = snapshot_controller::start(&cluster, &kubeconfig, logs)?;
        plane.components.insert(0, component);
        Ok(plane)
    }

    /// Fails if one of its programs has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.components.iter_mut().try_for_each(Component::check)
    }

    fn run(&mut self, name: &str, arguments: Vec<String>, logs: &Path) -> Result<()> {
        let component = Component::start(name, &tools::program(name)?, arguments, logs)?;
        self.components.insert(0, component);
        Ok(())
    }

    fn apiserver(
        &self,
        authority: &Authority,
        signing_key: &Path,
        public_key: &Path,
        state: &Path,
    ) -> Result<Vec<String>> {
        let serving = authority.server(
            "kube-apiserver",
            &[
                MACHINE,
                KUBERNETES_SERVICE,
                "127.0.0.1",
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local",
            ],
        )?;
        let to_kubelet =
            authority.client("apiserver-kubelet-client", "apiserver", Some("system:masters"))?;
        let policy = state.join("audit-policy.json");
        fs::write(&policy, audit_policy())
            .map_err(|error| format!("cannot write {}: {error}", policy.display()))?;
        Ok(vec![
            flag("etcd-servers", ETCD),
            flag("bind-address", "0.0.0.0"),
            flag("advertise-address", MACHINE),
            // The service's address belongs to this machine, so its port must be the real one.
            flag("secure-port", 443),
            flag("service-cluster-ip-range", SERVICES),
            flag("tls-cert-file", serving.certificate.display()),
            flag("tls-private-key-file", serving.key.display()),
            flag("client-ca-file", authority.certificate().display()),
            flag("kubelet-client-certificate", to_kubelet.certificate.display()),
            flag("kubelet-client-key", to_kubelet.key.display()),
            flag("kubelet-preferred-address-types", "InternalIP"),
            flag("authorization-mode", "Node,RBAC"),
            flag("enable-admission-plugins", "NodeRestriction"),
            flag("allow-privileged", true),
            // Alpha in 1.37: what the kubelet then writes.
            flag("feature-gates", "CSIVolumeHealth=true"),
            flag("service-account-issuer", ISSUER),
            flag("service-account-key-file", public_key.display()),
            flag("service-account-signing-key-file", signing_key.display()),
            flag("audit-policy-file", policy.display()),
            flag("audit-log-path", self.audit_log.display()),
        ])
    }

    fn wait_for_api(&mut self, logs: &Path) -> Result<()> {
        let cluster = Cluster::new(&self.kubeconfig, logs)?;
        cluster.wait("kube-apiserver to be ready", START, || {
            self.check()?;
            Ok(cluster.kubectl(&["get", "--raw=/readyz"]).is_ok().then_some(()))
        })
    }
}

fn etcd(state: &Path) -> Vec<String> {
    vec![
        flag("data-dir", state.join("etcd").display()),
        flag("listen-client-urls", ETCD),
        flag("advertise-client-urls", ETCD),
        flag("listen-peer-urls", ETCD_PEER),
        flag("initial-advertise-peer-urls", ETCD_PEER),
        flag("initial-cluster", format_args!("default={ETCD_PEER}")),
        flag("unsafe-no-fsync", true),
        flag("log-level", "warn"),
    ]
}

/// Arguments that the controller manager and the scheduler share.
fn as_client(kubeconfig: &Path, serving: &Path) -> Vec<String> {
    let kubeconfig = kubeconfig.display().to_string();
    vec![
        flag("kubeconfig", &kubeconfig),
        flag("authentication-kubeconfig", &kubeconfig),
        flag("authorization-kubeconfig", &kubeconfig),
        flag("cert-dir", serving.display()),
        flag("leader-elect", false),
    ]
}

/// Pod creations, with the time of the request, and nothing else.
fn audit_policy() -> String {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{
            "level": "Metadata",
            "verbs": ["create"],
            "resources": [{ "group": "", "resources": ["pods"] }],
        }],
    })
    .to_string()
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}
