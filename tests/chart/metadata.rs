//! What `Chart.yaml` tells Artifact Hub and other catalogues.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::helm::{list, read, text, yaml};

/// calf's own image, which is not published.
const UNPUBLISHED: &str = "localhost/calf:";

fn chart() -> Value {
    yaml(&read("charts/calf/Chart.yaml"))
}

/// The value of one of Artifact Hub's annotations, which is text.
fn annotation(name: &str) -> String {
    text(&chart()["annotations"][format!("artifacthub.io/{name}")]).to_owned()
}

/// The changelog's section of a version: its heading, and the text below each kind of change, in
/// small letters.
fn changelog(version: &str) -> (String, BTreeMap<String, String>) {
    let changelog = read("CHANGELOG.md");
    let mut sections = changelog.split("\n## ");
    let section = sections.find(|section| section.starts_with(&format!("{version} ")));
    let section = section.unwrap_or_else(|| panic!("CHANGELOG.md has no version {version}"));
    let (heading, rest) = section.split_once('\n').expect("a heading");
    let kinds = rest.split("\n### ").skip(1).map(|part| {
        let (kind, changes) = part.split_once('\n').expect("changes");
        (kind.to_lowercase(), plain(changes))
    });
    (heading.to_owned(), kinds.collect())
}

/// Text without Markdown's marks, in one line.
fn plain(text: &str) -> String {
    let words = text.replace(['`', '*'], "");
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(crate) fn changes_are_the_changelogs() {
    let (heading, kinds) = changelog(text(&chart()["version"]));
    let changes = yaml(&annotation("changes"));
    assert!(!list(&changes).is_empty());
    for change in list(&changes) {
        let (kind, description) = (text(&change["kind"]), text(&change["description"]));
        let told = kinds.get(kind).is_some_and(|changes| changes.contains(description));
        assert!(told, "CHANGELOG.md does not say under {kind}: {description}");
    }
    let unreleased = heading.ends_with("unreleased");
    assert_eq!(annotation("prerelease"), unreleased.to_string(), "CHANGELOG.md: {heading}");
}

/// Adds the images that values name, each as a repository and a tag.
fn find_images(value: &Value, found: &mut BTreeSet<String>) {
    if let (Some(repository), Some(tag)) = (value["repository"].as_str(), value["tag"].as_str()) {
        found.insert(format!("{repository}:{tag}"));
    }
    for child in value.as_object().into_iter().flat_map(|map| map.values()) {
        find_images(child, found);
    }
}

pub(crate) fn images_are_those_of_the_values() {
    let mut named = BTreeSet::new();
    find_images(&yaml(&read("charts/calf/values.yaml")), &mut named);
    let before = named.len();
    named.retain(|image| !image.starts_with(UNPUBLISHED));
    assert_eq!(named.len(), before - 1, "calf's own image: {named:?}");
    let images = yaml(&annotation("images"));
    let told = list(&images).iter().map(|image| text(&image["image"]).to_owned()).collect();
    assert_eq!(named, told);
}

pub(crate) fn the_package_says_the_same() {
    let chart = chart();
    assert_eq!(annotation("license"), env!("CARGO_PKG_LICENSE"));
    let documentation = "https://docs.rs/".to_owned() + env!("CARGO_PKG_NAME");
    assert_eq!(chart["home"], documentation.as_str());
    let links = yaml(&annotation("links"));
    assert!(list(&links).iter().any(|link| link["url"] == documentation.as_str()));
    for link in list(&links) {
        assert!(text(&link["url"]).starts_with("https://") && !text(&link["name"]).is_empty());
    }
    assert_eq!(annotation("category"), "storage");
}

pub(crate) fn the_icon_is_the_file() {
    let chart = chart();
    let icon = text(&chart["icon"]).strip_prefix("data:image/svg+xml;base64,").expect("an SVG");
    let icon = String::from_utf8(BASE64_STANDARD.decode(icon).expect("base64")).expect("UTF-8");
    let file = read("charts/calf/icon.svg");
    assert!(icon == file, "Chart.yaml's icon is not icon.svg: `base64 -w 0 charts/calf/icon.svg`");
    roxmltree::Document::parse(&file).expect("an SVG");
}
