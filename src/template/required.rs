//! Templates that a node is to have: the file that lists them.
//!
//! JSON, as everything that calf keeps and prints is; a Helm chart writes it with `toPrettyJson`,
//! and YAML would need one more parser for no more meaning.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};
use crate::model::digest::Digest;
use crate::model::limits::MAX_WARM;
use crate::model::partition::Partition;
use crate::model::platform::Platform;
use crate::model::template_name;
use crate::model::units::parse_size;
use crate::template::spec::{ImportFormat, ImportSource, ImportSpec};

const OPERATION: &str = "read the list of templates";
const FORM: &str = "write {\"templates\": [{\"name\": …, \"source\": PATH or URL (or \"empty\": \"ext4\"), \"sha256\": …, \
     \"partition\": …, \"format\": …, \"size\": …, \"platform\": …, \"refresh\": …, \"warm\": N}]}";
/// Most bytes of a list: a thousand templates with long URLs.
const MAX_FILE: u64 = 1 << 20;

/// The shortest interval of `refresh`.
const MIN_REFRESH: Duration = Duration::from_secs(1);

/// The templates that a node is to have, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequiredTemplates(Vec<RequiredTemplate>);

/// A template that a node is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredTemplate {
    /// What to import, and under which name.
    pub import: ImportSpec,
    /// How often to look whether the source leads to something else, such as a tag that moved; `None`
    /// for once, when the driver starts.
    pub refresh: Option<Duration>,
    /// How many spares of it are to be ready.
    pub warm: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    templates: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    source: Option<String>,
    empty: Option<String>,
    sha256: Option<String>,
    partition: Option<String>,
    format: Option<String>,
    size: Option<String>,
    platform: Option<String>,
    refresh: Option<String>,
    #[serde(default)]
    warm: u32,
}

impl RequiredTemplates {
    /// Reads the list in a JSON file: `{"templates": [{"name", "source" or "empty",
    /// "sha256", "partition", "format", "size", "platform", "refresh", "warm"}, …]}`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for what is no such list, an invalid or repeated name, a source that is
    /// neither an absolute path nor a URL, a URL without a digest, a `refresh` of what cannot change, too
    /// many spares.
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
        let mut templates = Vec::new();
        for entry in list.templates {
            template_name::check("accept", &entry.name)?;
            let refuse = |why: &'static str, remedy: &'static str| {
                let subject = format_args!("template {}", entry.name);
                Error::new(ErrorKind::InvalidArgument, "accept", subject, why).remedy(remedy)
            };
            if !names.insert(entry.name.clone()) {
                return Err(refuse("its name is there twice", "give each name once"));
            }
            if entry.warm > MAX_WARM {
                return Err(refuse("`warm` asks for too many spares", "give at most 256"));
            }
            let digest = entry.sha256.as_deref().map(Digest::parse).transpose()?;
            let source = match (&entry.source, &entry.empty) {
                (Some(source), None) => ImportSource::parse(source)?,
                (None, Some(kind)) => ImportSource::Empty(kind.parse()?),
                _ => {
                    return Err(refuse(
                        "it has none or both of `source` and `empty`",
                        "give one of them: where its image is, or \"ext4\" for an empty file system",
                    ));
                }
            };
            match &source {
                ImportSource::Url(_) if digest.is_none() => {
                    return Err(refuse(
                        "its source is a URL without a digest",
                        "add \"sha256\": all nodes are to have the same content",
                    ));
                }
                ImportSource::StandardInput => {
                    return Err(refuse(
                        "its source is standard input",
                        "give a path from the root, or a URL",
                    ));
                }
                ImportSource::File(path) if !path.is_absolute() => {
                    return Err(refuse(
                        "its source is not an absolute path",
                        "give a path from the root, or a URL",
                    ));
                }
                ImportSource::Empty(_) if entry.size.is_none() => {
                    return Err(refuse(
                        "it is an empty file system without a size",
                        "add \"size\", such as \"128Mi\"",
                    ));
                }
                _ => {}
            }
            let refresh = entry.refresh.as_deref().map(interval).transpose()?;
            let is_pinned = match &source {
                ImportSource::Registry(image) => digest.is_some() || image.digest().is_some(),
                ImportSource::File(_) => digest.is_some(),
                _ => true,
            };
            if refresh.is_some() && is_pinned {
                return Err(refuse(
                    "it has a `refresh`, and its source always leads to the same content",
                    "leave out \"refresh\", or name a tag or a file, without a digest",
                ));
            }
            let partition = entry.partition.as_deref().map(str::parse::<Partition>).transpose()?;
            let format = entry.format.as_deref().map(str::parse::<ImportFormat>).transpose()?;
            let size = entry.size.as_deref().map(|size| parse_size("size", size)).transpose()?;
            let import = ImportSpec::new(source, entry.name)
                .digest(digest)
                .partition(partition)
                .format(format)
                .size(size)
                .platform(entry.platform.as_deref().map(str::parse::<Platform>).transpose()?);
            templates.push(RequiredTemplate { import, refresh, warm: entry.warm });
        }
        Ok(Self(templates))
    }

    /// The templates, in the order of the list.
    pub fn templates(&self) -> &[RequiredTemplate] {
        &self.0
    }
}

impl From<Vec<ImportSpec>> for RequiredTemplates {
    /// Without spares, and looked at once.
    fn from(specs: Vec<ImportSpec>) -> Self {
        let required = |import| RequiredTemplate { import, refresh: None, warm: 0 };
        Self(specs.into_iter().map(required).collect())
    }
}

/// How often to look, such as `1h` or `30m`.
fn interval(text: &str) -> Result<Duration> {
    let parsed = text.parse::<jiff::SignedDuration>().ok();
    let parsed = parsed.and_then(|interval| Duration::try_from(interval).ok());
    parsed.filter(|interval| *interval >= MIN_REFRESH).ok_or_else(|| {
        let why = "it is no interval of a second or more";
        Error::new(ErrorKind::InvalidArgument, "read", format_args!("refresh {text:.40?}"), why)
            .remedy("give one such as \"1h\" or \"30m\"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_list_names_files_and_urls() {
        let text = format!(
            r#"{{"templates": [
                {{"name": "a", "source": "/images/a.img", "warm": 3}},
                {{"name": "b", "source": "https://h/b.img", "sha256": "{DIGITS}", "partition": "root"}},
                {{"name": "c", "empty": "ext4", "size": "64Mi"}},
                {{"name": "d", "source": "docker://h/d:1", "refresh": "1h 30m"}}
            ]}}"#
        );
        let list = RequiredTemplates::parse(text.as_bytes()).unwrap();
        let [a, b, c, d] = list.templates() else { panic!("{list:?}") };
        assert_eq!((a.warm, b.warm), (3, 0));
        assert_eq!((a.refresh, d.refresh), (None, Some(Duration::from_secs(5400))));
        let [a, b, c] = [&a.import, &b.import, &c.import];
        assert_eq!((&c.source.to_string()[..], c.size), ("empty ext4", Some(64 << 20)));
        assert_eq!(
            (a.name.as_str(), &a.source),
            ("a", &ImportSource::File("/images/a.img".into()))
        );
        assert_eq!((&a.partition, &b.partition), (&None, &Some(Partition::Root)));
        assert_eq!(b.digest.as_ref().unwrap().as_str(), DIGITS);
        assert_eq!(b.source.to_string(), "https://h/b.img");
        assert_eq!(RequiredTemplates::parse(br#"{"templates": []}"#).unwrap().templates(), []);
    }

    #[test]
    fn what_is_pinned_is_not_refreshed() {
        for source in [
            format!(r#""source": "docker://h/a@sha256:{DIGITS}""#),
            format!(r#""source": "docker://h/a:1", "sha256": "{DIGITS}""#),
            format!(r#""source": "https://h/a.img", "sha256": "{DIGITS}""#),
            format!(r#""source": "/a.img", "sha256": "{DIGITS}""#),
        ] {
            let text = format!(r#"{{"templates": [{{"name": "a", {source}, "refresh": "1h"}}]}}"#);
            let error = RequiredTemplates::parse(text.as_bytes()).unwrap_err();
            assert!(error.report().contains("leave out \"refresh\""), "{}", error.report());
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_the_form() {
        for (text, word) in [
            ("", "JSON"),
            ("[]", "templates"),
            ("{}", "templates"),
            (r#"{"templates": [], "more": 1}"#, "more"),
            (r#"{"templates": [{"name": "a"}]}"#, "source"),
            (r#"{"templates": [{"name": "a", "empty": "ext4"}]}"#, "size"),
            (r#"{"templates": [{"name": "a", "empty": "xfs", "size": "1Gi"}]}"#, "ext4"),
            (r#"{"templates": [{"name": "a", "empty": "ext4", "source": "/x"}]}"#, "both"),
            (r#"{"templates": [{"name": "a", "source": "/x", "sha": "1"}]}"#, "sha"),
            (r#"{"templates": [{"name": "/a", "source": "/x"}]}"#, "/a"),
            (r#"{"templates": [{"name": "a", "source": "x.img"}]}"#, "absolute"),
            (r#"{"templates": [{"name": "a", "source": "-"}]}"#, "standard input"),
            (r#"{"templates": [{"name": "a", "source": "/x", "warm": 257}]}"#, "256"),
            (r#"{"templates": [{"name": "a", "source": "/x", "warm": -1}]}"#, "warm"),
            (r#"{"templates": [{"name": "a", "source": "/x", "refresh": "often"}]}"#, "1h"),
            (r#"{"templates": [{"name": "a", "source": "/x", "refresh": "-1h"}]}"#, "1h"),
            (r#"{"templates": [{"name": "a", "source": "/x", "refresh": "10ms"}]}"#, "a second"),
            (
                r#"{"templates": [{"name": "a", "empty": "ext4", "size": "64Mi", "refresh": "1h"}]}"#,
                "same content",
            ),
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
