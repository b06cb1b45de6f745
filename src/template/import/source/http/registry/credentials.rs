//! Credentials for registries, from a file as `docker login` writes it.
//!
//! What is in it is in no log, error or record: nothing here is displayed.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::{Host, OpenMode};

const OPERATION: &str = "read credentials from";
const MAX_FILE: usize = 1 << 20;
/// How Docker Hub is called in such files.
const DOCKER_HUB: [&str; 3] = ["docker.io", "https://index.docker.io/v1/", "index.docker.io"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    auths: HashMap<String, Entry>,
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: HashMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// What proves to a registry who asks.
#[derive(PartialEq, Eq)]
pub(super) enum Credentials {
    /// User name and password, encoded for the header `Authorization`.
    Basic(String),
    /// A token with which others are got.
    Refresh(String),
}

/// The credentials for a registry or for one path in it; `None` if the file has none.
pub(super) fn find(
    host: &dyn Host,
    file: &Path,
    registry: &str,
    repository: &str,
) -> Result<Option<Credentials>> {
    let failed = |e| Error::io(OPERATION, file.display(), e);
    let opened = host.open_image(file, OpenMode::Read)?;
    let mut bytes = vec![0; MAX_FILE];
    let read = opened.fill_from(&mut bytes, 0).map_err(failed)?;
    let refuse = |why: &'static str, remedy: &'static str| {
        Error::new(ErrorKind::InvalidArgument, OPERATION, file.display(), why).remedy(remedy)
    };
    // The parser's message may show what it could not parse.
    let parsed: File = serde_json::from_slice(&bytes[..read]).map_err(|_| {
        refuse("it is no such file", "give a file as `docker login` writes it: {\"auths\": {…}}")
    })?;
    let File { mut auths, creds_store, cred_helpers } = parsed;
    let Some(entry) = names(registry, repository).iter().find_map(|name| auths.remove(name)) else {
        if creds_store.is_some() || cred_helpers.contains_key(registry) {
            return Err(refuse(
                "a helper program keeps the credentials, and calf starts no programs",
                "log in without the helper (`docker --config DIRECTORY login`), and give that file",
            ));
        }
        return Ok(None);
    };
    let wrong = || {
        refuse(
            "its entry for the registry has no credentials",
            "log in once more (`docker login`), or leave the entry out",
        )
    };
    match entry {
        Entry { identitytoken: Some(token), .. } if !token.is_empty() => {
            Ok(Some(Credentials::Refresh(token)))
        }
        Entry { auth: Some(auth), .. } if !auth.is_empty() => {
            let is_one = STANDARD.decode(&auth).is_ok_and(|decoded| decoded.contains(&b':'));
            if is_one { Ok(Some(Credentials::Basic(auth))) } else { Err(wrong()) }
        }
        Entry { username: Some(user), password: Some(password), .. } => {
            Ok(Some(Credentials::Basic(STANDARD.encode(format!("{user}:{password}")))))
        }
        _ => Err(wrong()),
    }
}

/// The names that an entry may have, the most exact first.
fn names(registry: &str, repository: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut path = format!("{registry}/{repository}");
    while let Some((shorter, _)) = path.rsplit_once('/') {
        names.push(path.clone());
        path = shorter.to_owned();
    }
    names.push(registry.to_owned());
    names.push(format!("https://{registry}"));
    if registry == DOCKER_HUB[0] {
        names.extend(DOCKER_HUB.map(str::to_owned));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::LinuxHost;

    fn said(content: &str, registry: &str, repository: &str) -> Result<Option<Credentials>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        find(&LinuxHost::new(), file.path(), registry, repository)
    }

    #[test]
    fn the_most_exact_entry_counts() {
        let auth = STANDARD.encode("a:b");
        let exact = STANDARD.encode("c:d");
        let text = format!(
            r#"{{"auths": {{"ghcr.io": {{"auth": "{auth}"}}, "ghcr.io/a": {{"auth": "{exact}"}},
                "https://index.docker.io/v1/": {{"username": "a", "password": "b"}},
                "quay.io": {{"identitytoken": "t"}}}}, "credsStore": "desktop"}}"#
        );
        let found = |registry: &str, repository: &str| said(&text, registry, repository).unwrap();
        assert!(found("ghcr.io", "a/b") == Some(Credentials::Basic(exact)));
        assert!(found("ghcr.io", "ab/b") == Some(Credentials::Basic(auth.clone())));
        assert!(found("docker.io", "library/x") == Some(Credentials::Basic(auth)));
        assert!(found("quay.io", "x") == Some(Credentials::Refresh("t".into())));
        let error = said(&text, "other.io", "x").err().unwrap();
        assert!(error.report().contains("helper"), "{}", error.report());
        assert!(said(r#"{"auths": {}}"#, "other.io", "x").unwrap().is_none());
    }

    #[test]
    fn what_is_in_the_file_is_not_shown() {
        for content in [
            "secret",
            r#"{"auths": "secret"}"#,
            r#"{"auths": {"ghcr.io": {"auth": "secret"}}}"#,
            r#"{"auths": {"ghcr.io": {"username": "secret"}}}"#,
        ] {
            let said = said(content, "ghcr.io", "a").err().unwrap().report();
            assert!(!said.contains("secret") && said.contains("docker login"), "{said}");
        }
    }
}
