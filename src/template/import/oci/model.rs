//! The documents of a container image: index, manifest, configuration. Pure.
//!
//! What is not used is not parsed: images of all ages and tools have fields of their own.

use serde::Deserialize;

use crate::model::digest::Digest;
use crate::model::platform::Platform;
use crate::pool::image_config::Run;

/// Most bytes of a document; registries refuse larger manifests.
pub(crate) const MAX_DOCUMENT: u64 = 4 << 20;
/// Most layers of an image; tools make up to 127.
const MAX_LAYERS: usize = 1000;

const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
const MANIFESTS: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
/// The starts of the types of layers; how they are compressed is seen by their content.
const LAYERS: [&str; 4] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
];

/// What a document says of another, or of a layer.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    digest: String,
    pub(crate) size: u64,
    platform: Option<Named>,
}

#[derive(Clone, Debug, Deserialize)]
struct Named {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: String,
}

impl Descriptor {
    /// The SHA-256 of the bytes.
    pub(crate) fn digest(&self) -> Result<Digest, String> {
        parse_digest(&self.digest)
    }

    /// Whether it is an index or a manifest.
    #[cfg(feature = "http")]
    pub(crate) fn is_document(&self) -> bool {
        self.is_one_of(&INDEXES) || self.is_one_of(&MANIFESTS)
    }

    fn is_one_of(&self, types: &[&str]) -> bool {
        types.contains(&self.media_type.as_str())
    }
}

/// A digest with its algorithm in front.
pub(crate) fn parse_digest(text: &str) -> Result<Digest, String> {
    let shown = text.escape_debug().to_string();
    let hex = text
        .strip_prefix("sha256:")
        .ok_or_else(|| format!("calf does not know the algorithm of the digest {shown:.100}"))?;
    Digest::parse(hex).map_err(|_| format!("{shown:.100} is no SHA-256"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    media_type: String,
    artifact_type: Option<String>,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    #[serde(rename = "fsLayers")]
    old_layers: Option<serde::de::IgnoredAny>,
}

/// An index or a manifest.
#[derive(Debug)]
pub(crate) enum Parsed {
    Index(Vec<Descriptor>),
    Manifest(Manifest),
    /// The manifest of an artifact that is a single file: its content.
    Artifact(Descriptor),
}

#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// Parses what may be either.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let document: Document = serde_json::from_slice(bytes)
        .map_err(|error| format!("it is neither an index nor a manifest of an image: {error}"))?;
    let Document { media_type, artifact_type, manifests, config, layers, old_layers } = document;
    let known = |types: &[&str]| media_type.is_empty() || types.contains(&media_type.as_str());
    match (manifests, config, layers) {
        (Some(manifests), None, None) if known(&INDEXES) => Ok(Parsed::Index(manifests)),
        (None, Some(config), Some(layers)) if known(&MANIFESTS) => {
            if config.is_one_of(&CONFIGS) {
                check(&layers)?;
                return Ok(Parsed::Manifest(Manifest { config, layers }));
            }
            artifact(&config, artifact_type, layers).map(Parsed::Artifact)
        }
        _ if old_layers.is_some() => {
            Err("it is an image of before 2016 (schema version 1), which calf does not read".into())
        }
        _ => Err("it is neither an index nor a manifest of an image".into()),
    }
}

/// The file of an artifact. It may be anything; what it is shows when it is read.
fn artifact(
    config: &Descriptor,
    artifact_type: Option<String>,
    layers: Vec<Descriptor>,
) -> Result<Descriptor, String> {
    let count = layers.len();
    match <[Descriptor; 1]>::try_from(layers) {
        Ok([file]) if file.media_type.contains("encrypted") => Err("it is encrypted".into()),
        Ok([file]) => Ok(file),
        Err(_) => Err(format!(
            "it is no container image, but an artifact of type {} with {count} files, and a template is made \
             of one disk image",
            shown(&artifact_type.unwrap_or_else(|| config.media_type.clone()))
        )),
    }
}

fn shown(text: &str) -> String {
    format!("{:.100}", text.escape_debug().to_string())
}

fn check(layers: &[Descriptor]) -> Result<(), String> {
    if layers.len() > MAX_LAYERS {
        return Err(format!("it has {} layers", layers.len()));
    }
    let is_layer =
        |layer: &&Descriptor| LAYERS.iter().any(|with| layer.media_type.starts_with(with));
    match layers.iter().find(|layer| !is_layer(layer)) {
        Some(other) if other.media_type.contains("encrypted") => {
            Err("a layer of it is encrypted".into())
        }
        Some(other) => {
            Err(format!("calf does not know the type {} of a layer", shown(&other.media_type)))
        }
        None => Ok(()),
    }
}

/// The image of an index that suits a platform best. Platforms are missing where there is no choice.
pub(crate) fn choose<'a>(
    manifests: &'a [Descriptor],
    wanted: &Platform,
) -> Result<&'a Descriptor, String> {
    let known = |one: &&Descriptor| {
        one.media_type.is_empty() || one.is_one_of(&INDEXES) || one.is_one_of(&MANIFESTS)
    };
    // Attestations of images are for an unknown platform.
    let is_image = |one: &&Descriptor| one.platform.as_ref().is_none_or(|on| on.os != "unknown");
    let images: Vec<&Descriptor> = manifests.iter().filter(known).filter(is_image).collect();
    let on = |one: &Descriptor| {
        one.platform.as_ref().map(|on| Platform::new(&on.os, &on.architecture, &on.variant))
    };
    if images.iter().all(|one| on(one).is_none()) {
        return match images[..] {
            [only] => Ok(only),
            [] => Err("there is no image in it".into()),
            _ => Err(format!(
                "there are {} images in it, which do not say for which platform they are",
                images.len()
            )),
        };
    }
    let fits = images.iter().filter_map(|one| Some((on(one)?, *one)));
    let mut fits: Vec<_> = fits.filter_map(|(on, one)| Some((wanted.fit(&on)?, one))).collect();
    fits.sort_by_key(|(fit, _)| *fit);
    match fits[..] {
        [] => {
            let mut there: Vec<String> =
                images.iter().filter_map(|one| Some(on(one)?.to_string())).collect();
            there.dedup();
            let there = format!("{:.300}", there.join(", ").escape_debug().to_string());
            Err(format!("there is no image for {wanted} in it, but for {there}"))
        }
        [(best, first), (next, second), ..] if best == next && first.digest != second.digest => {
            Err(format!("there are several images for {wanted} in it"))
        }
        [(_, first), ..] => Ok(first),
    }
}

/// The configuration of an image: what calf uses of it, and keeps.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Config {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: String,
    config: Option<Started>,
    rootfs: Option<RootFs>,
}

#[derive(Clone, Debug, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

/// How the image is run. Tools write `null` for what is empty.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Started {
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    stop_signal: Option<String>,
}

impl Config {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes)
            .map_err(|error| format!("its configuration cannot be understood: {error}"))
    }

    pub(crate) fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, &self.variant)
    }

    /// How the image is run.
    pub(crate) fn run(&self) -> Run {
        let Some(given) = self.config.clone() else { return Run::default() };
        Run {
            env: given.env.unwrap_or_default(),
            entrypoint: given.entrypoint.unwrap_or_default(),
            cmd: given.cmd.unwrap_or_default(),
            working_dir: given.working_dir.unwrap_or_default(),
            user: given.user.unwrap_or_default(),
            stop_signal: given.stop_signal.unwrap_or_default(),
        }
    }

    /// The digests of the unpacked layers.
    pub(crate) fn layers(&self) -> Result<Vec<Digest>, String> {
        let ids = self.rootfs.as_ref().map_or(&[][..], |rootfs| &rootfs.diff_ids);
        if ids.len() > MAX_LAYERS {
            return Err(format!("it has {} layers", ids.len()));
        }
        ids.iter().map(|id| parse_digest(id)).collect()
    }
}

/// An image in an archive of `docker save`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Saved {
    pub(crate) config: String,
    pub(crate) layers: Vec<String>,
}

/// Parses the `manifest.json` of such an archive.
pub(crate) fn parse_saved(bytes: &[u8]) -> Result<Vec<Saved>, String> {
    serde_json::from_slice(bytes)
        .map_err(|error| format!("its manifest.json cannot be understood: {error}"))
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
