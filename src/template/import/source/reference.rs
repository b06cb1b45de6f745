//! The name of an image in a registry.

use std::fmt;
#[cfg(all(feature = "http", feature = "formats"))]
use std::net::IpAddr;

use crate::error::{Error, ErrorKind, Result};
use crate::model::digest::Digest;

const FORM: &str =
    "write it as docker://registry.example/path/name:tag, or with @sha256:… instead of the tag";
/// Where names without a registry are.
const DOCKER_HUB: &str = "docker.io";
/// The server behind that name.
#[cfg(all(feature = "http", feature = "formats"))]
const DOCKER_HUB_SERVER: &str = "registry-1.docker.io";
const SCHEMES: [&str; 2] = ["docker://", "oci://"];
const MAX_NAME: usize = 255;

/// An image in a registry: by a tag, which may move, or by a digest, or by both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageReference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl ImageReference {
    /// Whether a source is meant as the name of an image in a registry.
    pub fn is_meant(source: &str) -> bool {
        SCHEMES.iter().any(|scheme| source.starts_with(scheme))
    }

    /// Takes a name as other tools do: without a registry it is one of Docker Hub, and without a tag or a
    /// digest the tag is `latest`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |why: &'static str| {
            // Not shown: it may hold a password.
            let error = Error::new(ErrorKind::InvalidArgument, "use", "the name of the image", why);
            Err(error.remedy(FORM))
        };
        let Some(name) = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme)) else {
            return refuse("it does not begin with docker:// or oci://");
        };
        let (name, digest) = match name.split_once("@sha256:") {
            Some((name, digest)) => (name, Some(Digest::parse(digest)?)),
            None if name.contains('@') => {
                return refuse("it holds a user name or a digest of another algorithm than sha256");
            }
            None => (name, None),
        };
        if name.contains('@') {
            return refuse("it holds a user name or password");
        }
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (name, None),
        };
        let (registry, repository) = match name.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
                (host.to_owned(), rest.to_owned())
            }
            Some(_) => (DOCKER_HUB.to_owned(), name.to_owned()),
            None => (DOCKER_HUB.to_owned(), format!("library/{name}")),
        };
        if !is_host(&registry) {
            return refuse("its registry is no host name");
        }
        if repository.len() > MAX_NAME || !repository.split('/').all(is_component) {
            return refuse("its path is not one of lower-case letters, digits, `.`, `_` and `-`");
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return refuse("its tag is not one of letters, digits, `.`, `_` and `-`");
        }
        let tag = match (&digest, tag) {
            (None, None) => Some("latest".to_owned()),
            (_, tag) => tag.map(str::to_owned),
        };
        Ok(Self { registry, repository, tag, digest })
    }

    /// The last part of its path.
    pub(crate) fn file_name(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or_default()
    }
}

/// What is asked of the registry.
#[cfg(all(feature = "http", feature = "formats"))]
impl ImageReference {
    /// The digest that the image must have, if it is named by one.
    pub(crate) fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The host in the name, as lists of credentials have it.
    pub(crate) fn registry(&self) -> &str {
        &self.registry
    }

    /// The path of the image in its registry.
    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    /// What to ask the registry for: a digest, or else a tag.
    pub(crate) fn wanted(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("sha256:{digest}"),
            (None, tag) => tag.clone().unwrap_or_default(),
        }
    }

    /// The start of the registry's URLs. Only a registry on this machine is asked without TLS.
    pub(crate) fn base(&self) -> String {
        let server = if self.registry == DOCKER_HUB { DOCKER_HUB_SERVER } else { &self.registry };
        let scheme = if is_loopback(server) { "http" } else { "https" };
        format!("{scheme}://{server}/v2/{}", self.repository)
    }

    /// The same image with the digest that its tag led to.
    pub(crate) fn resolved(&self, digest: &Digest) -> Self {
        Self { digest: Some(digest.clone()), ..self.clone() }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docker://{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@sha256:{digest}"))
    }
}

fn is_host(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    !text.is_empty() && text.len() <= MAX_NAME && text.chars().all(allowed)
}

fn is_component(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.bytes().all(allowed) && ends(text.bytes().next()) && ends(text.bytes().last())
}

fn is_tag(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    text.len() <= 128
        && text.bytes().all(allowed)
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether a server is this machine, to which no network leads.
#[cfg(all(feature = "http", feature = "formats"))]
fn is_loopback(server: &str) -> bool {
    let host = match server.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => server,
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn names_are_taken_as_other_tools_take_them() {
        for (given, shown) in [
            ("docker://debian", "docker://docker.io/library/debian:latest"),
            ("docker://debian:12", "docker://docker.io/library/debian:12"),
            ("docker://grafana/grafana:v1.0", "docker://docker.io/grafana/grafana:v1.0"),
            ("oci://ghcr.io/a/b/c", "docker://ghcr.io/a/b/c:latest"),
            ("docker://localhost:5000/app", "docker://localhost:5000/app:latest"),
            ("docker://[::1]:5000/app:x", "docker://[::1]:5000/app:x"),
        ] {
            assert_eq!(ImageReference::parse(given).unwrap().to_string(), shown);
        }
        let pinned = format!("docker://ghcr.io/a/b:t@sha256:{DIGITS}");
        assert_eq!(ImageReference::parse(&pinned).unwrap().to_string(), pinned);
        let pinned = format!("docker://ghcr.io/a/b@sha256:{DIGITS}");
        assert_eq!(ImageReference::parse(&pinned).unwrap().to_string(), pinned);
    }

    #[test]
    fn what_is_no_name_is_refused_without_showing_it() {
        for given in [
            "docker://",
            "docker:///a",
            "docker://user:secret@ghcr.io/a",
            "docker://ghcr.io/../secret",
            "docker://ghcr.io/A/secret",
            "docker://ghcr.io/a//secret",
            "docker://ghcr.io/a:se cret",
            "docker://ghcr.io/a?secret",
            "docker://gh_cr.io/secret",
            "docker://ghcr.io/a@sha512:secret",
            "docker://ghcr.io/a@sha256:secret",
            "ghcr.io/secret",
        ] {
            let said = ImageReference::parse(given).unwrap_err().report();
            assert!(!said.contains("secret") || given.contains("sha256"), "{said}");
        }
    }

    #[cfg(all(feature = "http", feature = "formats"))]
    #[test]
    fn only_this_machine_is_asked_without_tls() {
        for (given, base) in [
            ("docker://debian", "https://registry-1.docker.io/v2/library/debian"),
            ("docker://127.0.0.1:5000/a", "http://127.0.0.1:5000/v2/a"),
            ("docker://localhost/a", "http://localhost/v2/a"),
            ("docker://[::1]:5000/a", "http://[::1]:5000/v2/a"),
            ("docker://127.0.0.1.example.org/a", "https://127.0.0.1.example.org/v2/a"),
            ("docker://10.0.0.1:5000/a", "https://10.0.0.1:5000/v2/a"),
        ] {
            assert_eq!(ImageReference::parse(given).unwrap().base(), base);
        }
    }
}
