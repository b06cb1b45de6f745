//! Checks that the documents name what exists: files, headings, and the tests that verify a
//! statement.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Words in a name at which it is taken for the name of a test, and not of a field.
const WORDS_OF_A_TEST: usize = 4;

/// The folders whose files a document names by their path in the repository.
const FOLDERS: [&str; 5] = ["charts", "docs", "proto", "src", "tests"];

/// What a document says, as far as it can be checked.
#[derive(Default)]
pub(crate) struct Document {
    pub(crate) links: Vec<String>,
    code: Vec<String>,
    anchors: BTreeSet<String>,
}

impl Document {
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|why| panic!("{path:?}: {why}"));
        let mut document = Self::default();
        let mut heading: Option<String> = None;
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    document.anchors.extend(heading.take().map(|title| anchor(&title)));
                }
                Event::Start(Tag::Link { dest_url, .. }) => document.links.push(dest_url.into()),
                Event::Code(code) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&code);
                    }
                    document.code.push(code.into());
                }
                Event::Text(text) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                _ => {}
            }
        }
        document
    }
}

/// The anchor that a repository's web page gives to a heading.
fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below `folder` whose name ends in `.extension`.
pub(crate) fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|is| is == extension) {
            found.push(path);
        }
    }
    found
}

fn documents() -> Vec<PathBuf> {
    let mut found = files(&repository().join("docs"), "md");
    found.extend(files(&repository().join("charts"), "md"));
    let root = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    found.extend(root.map(|name| repository().join(name)));
    found
}

/// The words of all sources, each once.
fn words() -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for folder in ["src", "tests"] {
        for path in files(&repository().join(folder), "rs") {
            let text = fs::read_to_string(&path).expect("a readable source");
            let split = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            words.extend(split.map(str::to_owned));
        }
    }
    words
}

fn is_name_of_test(code: &str) -> bool {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    code.chars().all(lower)
        && code.split('_').filter(|word| !word.is_empty()).count() >= WORDS_OF_A_TEST
        // Metrics: tests/csi and tests/cli compare them with their table.
        && !code.starts_with("calf_")
}

#[test]
fn links_lead_to_files_and_headings() {
    let mut broken = Vec::new();
    for path in documents() {
        for link in Document::read(&path).links {
            if link.contains(':') {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let directory = path.parent().expect("a file's directory");
            let target = if file.is_empty() { path.clone() } else { directory.join(file) };
            let known = target.exists()
                && (heading.is_empty() || Document::read(&target).anchors.contains(heading));
            if !known {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links to nothing:\n{}", broken.join("\n"));
}

#[test]
fn files_and_tests_that_documents_name_exist() {
    let words = words();
    let mut unknown = Vec::new();
    for path in documents() {
        for code in Document::read(&path).code {
            let name = code.rsplit("::").next().unwrap_or(&code);
            let is_path = FOLDERS.iter().any(|folder| code.starts_with(&format!("{folder}/")))
                && code.ends_with(".rs")
                && code.is_ascii();
            let missing = is_path && !repository().join(&code).exists()
                || is_name_of_test(name) && !words.contains(name);
            if missing {
                unknown.push(format!("{}: {code}", path.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "documents name what is not there:\n{}", unknown.join("\n"));
}
