//! The manifests that a reader copies, read unchanged from the documentation.

use std::path::Path;

use crate::Result;

/// The page on Kubernetes.
const KUBERNETES: &str = "docs/kubernetes.md";
/// The page on snapshots.
pub(crate) const SNAPSHOTS: &str = "docs/snapshots.md";
/// A generic ephemeral block volume for a VMM in a pod.
pub(crate) const MICROVM: &str = "microvm.yaml";
/// An inline ephemeral volume, mounted.
pub(crate) const INLINE: &str = "inline.yaml";
/// A Kata pod with a direct-assigned volume.
pub(crate) const KATA: &str = "kata.yaml";
const MANIFESTS: [&str; 3] = [MICROVM, INLINE, KATA];

const FENCE: &str = "```";

/// The manifest of the page on Kubernetes whose first line is `# <name>`.
pub(crate) fn manifest(name: &str) -> Result<String> {
    manifest_of(KUBERNETES, name)
}

/// The manifest of a page whose first line is `# <name>`.
pub(crate) fn manifest_of(page: &str, name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    find(&text, name).ok_or_else(|| format!("{page} has no manifest that begins with `# {name}`"))
}

fn find(page: &str, name: &str) -> Option<String> {
    let title = format!("# {name}");
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if !line.starts_with(&format!("{FENCE}yaml")) {
            continue;
        }
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != FENCE).collect();
        if block.first() == Some(&title.as_str()) {
            return Some(block.join("\n") + "\n");
        }
    }
    None
}

/// The images that the manifests name.
pub(crate) fn images() -> Result<Vec<String>> {
    let mut images = Vec::new();
    for name in MANIFESTS {
        let manifest = manifest(name)?;
        let fields = manifest.lines().map(|line| line.trim_start_matches([' ', '-']));
        let named = fields.filter_map(|field| field.strip_prefix("image:"));
        images.extend(named.map(|image| image.trim().trim_matches('"').to_owned()));
    }
    Ok(images)
}
