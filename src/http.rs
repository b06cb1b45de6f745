//! The HTTP client: for template images, and for Kubernetes' API.
//!
//! This is the one place that decides which servers are trusted, how long each step may take, and
//! that `https` never turns into `http`. TLS is rustls. Certificates are checked against Mozilla's
//! roots, which are built in (a container of calf has no others), or against a file that the
//! operator names.

use std::path::Path;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::error::{Error, ErrorKind, Result};

/// Maximum number of redirects to follow for one request.
pub(crate) const MAX_REDIRECTS: u32 = 5;
/// How long name resolution and connecting to the server may take.
const CONNECT: Duration = Duration::from_secs(15);

/// A client.
pub(crate) struct Options<'a> {
    /// PEM file with the only certificates to trust; `None` for the built-in roots.
    pub(crate) certificates: Option<&'a Path>,
    /// Go through the proxy that the environment names (`HTTPS_PROXY`, `NO_PROXY`, …).
    pub(crate) proxy: bool,
    /// Refuse anything but `https`, redirects included.
    pub(crate) https_only: bool,
    /// How long a server may send nothing.
    pub(crate) stall: Duration,
    /// How long a request may take as a whole; `None` if that depends on the length of its body.
    pub(crate) total: Option<Duration>,
}

/// Makes a client, which returns statuses such as 404 as answers, not as errors.
pub(crate) fn agent(options: &Options<'_>) -> Result<Agent> {
    let roots = match options.certificates {
        None => RootCerts::WebPki,
        Some(path) => RootCerts::from(certificates(path)?),
    };
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .https_only(options.https_only)
        .max_redirects(MAX_REDIRECTS)
        .user_agent(concat!("calf/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(options.stall))
        .timeout_per_read(Some(options.stall))
        .timeout_per_write(Some(options.stall))
        .timeout_global(options.total);
    if !options.proxy {
        config = config.proxy(None);
    }
    Ok(config.build().new_agent())
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>> {
    const OPERATION: &str = "trust the certificates in";
    const REMEDY: &str = "give a PEM file with the certificates of the authorities to trust";
    let text = std::fs::read(path).map_err(|e| Error::io(OPERATION, path.display(), e))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&text) {
        let item = item.map_err(|e| {
            Error::new(ErrorKind::InvalidArgument, OPERATION, path.display(), e).remedy(REMEDY)
        })?;
        if let PemItem::Certificate(certificate) = item {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        let why = "it holds no certificate";
        return Err(
            Error::new(ErrorKind::InvalidArgument, OPERATION, path.display(), why).remedy(REMEDY)
        );
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ureq checks the scheme of each request, including requests that follow a redirect.
    #[test]
    fn https_only_refuses_http() {
        for (https_only, refused) in [(true, true), (false, false)] {
            let stall = Duration::from_secs(5);
            let options =
                Options { certificates: None, proxy: false, https_only, stall, total: None };
            // Nobody listens on port 1.
            let error = agent(&options).unwrap().get("http://127.0.0.1:1/").call().unwrap_err();
            assert_eq!(matches!(error, ureq::Error::RequireHttpsOnly(_)), refused, "{error}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for content in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAA"] {
            std::fs::write(file.path(), content).unwrap();
            let error = certificates(file.path()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{content:?}");
            assert!(error.report().contains("PEM"), "{}", error.report());
        }
        let missing = certificates(Path::new("/nowhere/ca.crt")).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
}
