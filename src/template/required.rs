//! Templates that a node is to have: the file that lists them.
//!
//! JSON, as everything that calf keeps and prints is; a Helm chart writes it with `toPrettyJson`,
//! and YAML would need one more parser for no more meaning.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

use super::{Digest, ImportSource, ImportSpec, name};
use crate::error::{Error, ErrorKind, Result};

const OPERATION: &str = "read the list of templates";
const FORM: &str = "write {\"templates\": [{\"name\": …, \"source\": PATH or URL, \"sha256\": …}]}";
/// Most bytes of a list: a thousand templates with long URLs.
const MAX_FILE: u64 = 1 << 20;

/// The templates that a node is to have, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequiredTemplates(Vec<ImportSpec>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    templates: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    source: String,
    sha256: Option<String>,
}

impl RequiredTemplates {
    /// Reads the list in a JSON file: `{"templates": [{"name", "source", "sha256"}, …]}`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for what is no such list, an invalid or repeated name, a source that is
    /// neither an absolute path nor a URL, a URL without a digest.
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |e| Error::io(OPERATION, path.display(), e);
        let size = path.metadata().map_err(failed)?.len();
        if size > MAX_FILE {
            let why = format!("it has {size} bytes");
            return Err(
                Error::new(ErrorKind::InvalidArgument, OPERATION, path.display(), why).remedy(FORM)
            );
        }
        let text = std::fs::read(path).map_err(failed)?;
        Self::parse(&text)
            .map_err(|error| Error::new(error.kind(), OPERATION, path.display(), error))
    }

    fn parse(text: &[u8]) -> Result<Self> {
        let list: List = serde_json::from_slice(text).map_err(|e| {
            Error::new(ErrorKind::InvalidArgument, "parse", "its JSON", e).remedy(FORM)
        })?;
        let mut names = BTreeSet::new();
        let mut specs = Vec::new();
        for entry in list.templates {
            name::check("accept", &entry.name)?;
            let refuse = |why: &'static str, remedy: &'static str| {
                let subject = format_args!("template {}", entry.name);
                Error::new(ErrorKind::InvalidArgument, "accept", subject, why).remedy(remedy)
            };
            if !names.insert(entry.name.clone()) {
                return Err(refuse("its name is there twice", "give each name once"));
            }
            let digest = entry.sha256.as_deref().map(Digest::parse).transpose()?;
            let source = ImportSource::parse(&entry.source)?;
            match &source {
                ImportSource::Url(_) if digest.is_none() => {
                    return Err(refuse(
                        "its source is a URL without a digest",
                        "add \"sha256\": all nodes are to have the same content",
                    ));
                }
                ImportSource::File(path) if !path.is_absolute() => {
                    return Err(refuse(
                        "its source is no absolute path",
                        "give a path from the root, or a URL",
                    ));
                }
                _ => {}
            }
            specs.push(ImportSpec { source, name: entry.name, digest });
        }
        Ok(Self(specs))
    }

    /// What to import, in the order of the list.
    pub fn specs(&self) -> &[ImportSpec] {
        &self.0
    }
}

impl From<Vec<ImportSpec>> for RequiredTemplates {
    fn from(specs: Vec<ImportSpec>) -> Self {
        Self(specs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_list_names_files_and_urls() {
        let text = format!(
            r#"{{"templates": [
                {{"name": "a", "source": "/images/a.img"}},
                {{"name": "b", "source": "https://h/b.img", "sha256": "{DIGITS}"}}
            ]}}"#
        );
        let list = RequiredTemplates::parse(text.as_bytes()).unwrap();
        let [a, b] = list.specs() else { panic!("{list:?}") };
        assert_eq!(
            (a.name.as_str(), &a.source),
            ("a", &ImportSource::File("/images/a.img".into()))
        );
        assert_eq!(b.digest.as_ref().unwrap().as_str(), DIGITS);
        assert_eq!(b.source.to_string(), "https://h/b.img");
        assert_eq!(RequiredTemplates::parse(br#"{"templates": []}"#).unwrap().specs(), []);
    }

    #[test]
    fn what_is_wrong_is_told_with_the_form() {
        for (text, word) in [
            ("", "JSON"),
            ("[]", "templates"),
            ("{}", "templates"),
            (r#"{"templates": [], "more": 1}"#, "more"),
            (r#"{"templates": [{"name": "a"}]}"#, "source"),
            (r#"{"templates": [{"name": "a", "source": "/x", "sha": "1"}]}"#, "sha"),
            (r#"{"templates": [{"name": "/a", "source": "/x"}]}"#, "/a"),
            (r#"{"templates": [{"name": "a", "source": "x.img"}]}"#, "absolute"),
            (r#"{"templates": [{"name": "a", "source": "https://h/x"}]}"#, "sha256"),
            (r#"{"templates": [{"name": "a", "source": "/x", "sha256": "12"}]}"#, "SHA-256"),
            (
                r#"{"templates": [{"name": "a", "source": "/x"}, {"name": "a", "source": "/y"}]}"#,
                "twice",
            ),
        ] {
            let error = RequiredTemplates::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
            assert!(error.report().contains(word), "{text}: {}", error.report());
        }
    }
}
