//! Checks the documentation as a site, which `docs/build.sh` makes of the pages: without mdBook.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::documents::{Document, files, repository};

/// What the script copies beside the pages of `docs`: files, and folders with all below.
const COPIED: [&str; 6] =
    ["CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "charts/calf", "docs"];

/// What has no place in the summary: itself, and records, which the script adds.
fn is_page(page: &Path) -> bool {
    let record = page.starts_with("docs/adr") && page != Path::new("docs/adr/README.md");
    !record && page != Path::new("docs/SUMMARY.md")
}

/// The files in the repository that a document's links name.
fn linked(document: &str) -> Vec<PathBuf> {
    let directory = Path::new(document).parent().expect("a file's directory");
    let links = Document::read(&repository().join(document)).links.into_iter();
    let within = links.filter(|link| !link.contains(':') && !link.starts_with('#'));
    within
        .map(|link| {
            let file = link.split('#').next().unwrap_or_default();
            directory.join(file).components().fold(PathBuf::new(), |mut path, component| {
                match component {
                    Component::ParentDir => {
                        path.pop();
                    }
                    other => path.push(other),
                }
                path
            })
        })
        .collect()
}

/// All pages of `docs`, by their paths in the repository.
fn pages() -> BTreeSet<PathBuf> {
    let pages = files(&repository().join("docs"), "md").into_iter();
    pages.map(|page| page.strip_prefix(repository()).expect("below").to_owned()).collect()
}

#[test]
fn the_summary_has_every_page_once() {
    let listed = linked("docs/SUMMARY.md");
    let once: BTreeSet<PathBuf> = listed.iter().cloned().collect();
    assert_eq!(once.len(), listed.len(), "docs/SUMMARY.md lists a page twice: {listed:?}");
    let missing: Vec<_> =
        pages().into_iter().filter(|page| is_page(page) && !once.contains(page)).collect();
    assert!(missing.is_empty(), "not in docs/SUMMARY.md: {missing:?}");
}

#[test]
fn every_decision_record_has_a_subject() {
    let listed: BTreeSet<PathBuf> = linked("docs/adr/README.md").into_iter().collect();
    let records = pages().into_iter().filter(|page| page.starts_with("docs/adr"));
    let missing: Vec<_> = records
        .filter(|page| page != Path::new("docs/adr/README.md") && !listed.contains(page))
        .collect();
    assert!(missing.is_empty(), "not in docs/adr/README.md: {missing:?}");
}

#[test]
fn links_stay_within_the_site() {
    let mut outside = Vec::new();
    let mut pages = pages();
    pages.remove(Path::new("docs/SUMMARY.md"));
    pages.extend(linked("docs/SUMMARY.md"));
    for page in pages {
        for file in linked(page.to_str().expect("UTF-8")) {
            let copied = COPIED.iter().any(|copied| file.starts_with(copied));
            // A repository's web page shows a folder and the summary; the site has no page for them.
            let shown = repository().join(&file).is_file() && file != Path::new("docs/SUMMARY.md");
            if !(copied && shown) {
                outside.push(format!("{}: {}", page.display(), file.display()));
            }
        }
    }
    assert!(outside.is_empty(), "links to what the site has not:\n{}", outside.join("\n"));
}
