//! How to reach the API server.

use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};

/// The directory with a pod's credentials.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How to reach the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// The server, such as `https://10.0.0.1:443`.
    pub server: String,
    /// File with the bearer token; read for each use, since it is replaced before it expires.
    pub token: PathBuf,
    /// PEM file with the authority that signed the server's certificate.
    pub certificates: Option<PathBuf>,
}

impl KubernetesConfig {
    /// The configuration of the pod in which this process runs.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` outside a pod, or if the pod has no service account.
    pub fn in_cluster() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let outside = |why: String| {
            Error::new(ErrorKind::InvalidArgument, "use", "Kubernetes Events", why)
                .remedy("run calf in a pod with a service account, or without --kubernetes-events")
        };
        let (Some(host), Some(port)) =
            (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"))
        else {
            return Err(outside("KUBERNETES_SERVICE_HOST and _PORT are not set".to_owned()));
        };
        // An IPv6 address needs brackets in a URL.
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let directory = PathBuf::from(SERVICE_ACCOUNT);
        let token = directory.join("token");
        if !token.exists() {
            return Err(outside(format!("{} does not exist", token.display())));
        }
        Ok(Self {
            server: format!("https://{host}:{port}"),
            token,
            certificates: Some(directory.join("ca.crt")),
        })
    }
}
