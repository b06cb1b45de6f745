//! Container images: their layers, one on top of the other, become an ext4.
//!
//! ```text
//! index ──platform──▸ manifest ──┬──▸ configuration: kept beside the content
//!                                └──▸ layers ──▸ rootfs
//! ```
//!
//! An image in which there is nothing but a disk in `/disk`, and an artifact that is a single file, are disk images
//! ([`disk`]).
//!
//! Every document and every layer has the digest that the document before says; a layer is checked while
//! its names are read, before anything is written. To be called with the import locked.

mod disk;
mod job;
pub(crate) mod model;
pub(crate) mod store;

use crate::error::{Error, Result};
use crate::model::digest::Digest;
use crate::model::platform::Platform;
use crate::pool::image_config::ImageConfig;
use crate::sys::{FileTree, ImageFile};
use crate::template::import::oci::disk::Artifact;
use crate::template::import::oci::model::{Config, Descriptor, Manifest, Parsed};
use crate::template::import::oci::store::{Archive, Directory, Part, Store, refused};
use crate::template::import::rootfs::{self, Blob, End, Expected, Files, Layer, RootFs};
use crate::template::import::state::Origin;
use crate::template::spec::{ImportSpec, Progress};

pub(crate) use job::Job;

/// Most indexes on the way to a manifest.
const MAX_DEPTH: usize = 4;
const LAYOUT: &str = "oci-layout";
const INDEX: &str = "index.json";
const SAVED: &str = "manifest.json";

/// What a document leads to.
enum Contents<'a> {
    Image(Box<Image<'a>>),
    Artifact(Artifact<'a>),
}

/// An image whose layers can be read.
struct Image<'a> {
    /// SHA-256 of the manifest; that of the archive if it has none.
    digest: Digest,
    platform: Platform,
    config: Config,
    layers: Vec<(Part<'a>, Expected)>,
}

/// Whether a directory is an OCI layout.
pub(crate) fn is_layout(names: &[std::ffi::OsString]) -> bool {
    [LAYOUT, INDEX].iter().all(|name| names.iter().any(|there| there == name))
}

/// Makes the template of an image in an OCI layout.
pub(crate) fn make_from_directory(
    job: Job<'_>,
    tree: &dyn FileTree,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Digest, Origin)> {
    let store = Directory(tree);
    let index = store::read(&store.open(INDEX)?, job.shown)?;
    let contents = from_index(&store, &index, &job)?;
    make(job, &contents, None, progress)
}

/// Makes the template of the image that a document leads to. `source` is the document's digest.
#[cfg(feature = "http")]
pub(crate) fn make_from_store(
    job: Job<'_>,
    store: &dyn Store,
    document: &[u8],
    source: Digest,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Digest, Origin)> {
    let contents = from_index(store, document, &job)?;
    make(job, &contents, Some(source), progress)
}

/// Makes the template of an image in an archive that is not compressed. `source` is the digest of the
/// file that the archive came in, if that was compressed.
pub(crate) fn make_from_archive(
    job: Job<'_>,
    file: &dyn ImageFile,
    size: u64,
    source: Option<Digest>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Digest, Origin)> {
    let archive = Archive::open(file, size, job.shown, &job.spec.cancel)?;
    let contents = match (archive.member(INDEX), archive.member(SAVED)) {
        (Some(index), _) => from_index(&archive, &store::read(&index, job.shown)?, &job)?,
        (None, Some(saved)) => {
            let saved = store::read(&saved, job.shown)?;
            Contents::Image(Box::new(from_saved(&archive, &saved, &job)?))
        }
        (None, None) => {
            let why =
                "it is no container image: there is neither index.json nor manifest.json in it";
            return Err(refused(job.shown, why)
                .remedy("if it is a root file system, say so (--format rootfs)"));
        }
    };
    let source = source.unwrap_or_else(|| archive.digest.clone());
    make(job, &contents, Some(source), progress)
}

fn wanted(spec: &ImportSpec) -> Platform {
    spec.platform.clone().unwrap_or_else(Platform::of_this_machine)
}

fn explained(shown: &str, why: String) -> Error {
    let remedy = if why.contains("for linux/") || why.contains("image for") {
        "say which one to take (--platform linux/arm64)"
    } else {
        "give a container image for Linux: `skopeo inspect --raw` shows what it is"
    };
    refused(shown, why).remedy(remedy)
}

/// What an index leads to.
fn from_index<'a>(store: &'a dyn Store, index: &[u8], job: &Job<'_>) -> Result<Contents<'a>> {
    let wanted = wanted(job.spec);
    let explain = |why| explained(job.shown, why);
    let mut bytes = index.to_vec();
    let mut digest = None;
    for _ in 0..=MAX_DEPTH {
        match model::parse(&bytes).map_err(explain)? {
            Parsed::Index(manifests) => {
                let chosen = model::choose(&manifests, &wanted).map_err(explain)?;
                bytes = store::document(store, chosen, job.shown)?;
                digest = Some(chosen.digest().map_err(explain)?);
            }
            Parsed::Manifest(manifest) => {
                let digest = digest.unwrap_or_else(|| digest_of(&bytes));
                let image = from_manifest(store, manifest, digest, &wanted, job)?;
                return Ok(Contents::Image(Box::new(image)));
            }
            Parsed::Artifact(file) => {
                let manifest = digest.unwrap_or_else(|| digest_of(&bytes));
                let digest = store::digest(&file, job.shown)?;
                let part = store.blob(&file, job.shown)?;
                return Ok(Contents::Artifact(Artifact { manifest, part, digest }));
            }
        }
    }
    Err(explain("its indexes lead to indexes without end".to_owned()))
}

fn digest_of(bytes: &[u8]) -> Digest {
    use sha2::Digest as _;

    Digest::of(sha2::Sha256::new_with_prefix(bytes))
}

fn from_manifest<'a>(
    store: &'a dyn Store,
    manifest: Manifest,
    digest: Digest,
    wanted: &Platform,
    job: &Job<'_>,
) -> Result<Image<'a>> {
    let config = store::document(store, &manifest.config, job.shown)?;
    let config = Config::parse(&config).map_err(|why| explained(job.shown, why))?;
    let platform = check_platform(&config, wanted, job)?;
    let layer = |layer: &Descriptor| {
        Ok((store.blob(layer, job.shown)?, store::expected(layer, job.shown)?))
    };
    let layers = manifest.layers.iter().map(layer).collect::<Result<_>>()?;
    Ok(Image { digest, platform, config, layers })
}

/// The image in an archive of `docker save`, which says which digests its unpacked layers have.
fn from_saved<'a>(archive: &Archive<'a>, saved: &[u8], job: &Job<'_>) -> Result<Image<'a>> {
    let explain = |why| explained(job.shown, why);
    let images = model::parse_saved(saved).map_err(explain)?;
    let [image] = &images[..] else {
        let why = format!("there are {} images in it", images.len());
        return Err(refused(job.shown, why).remedy("save one image (`docker save IMAGE`)"));
    };
    let member = |path: &str| {
        let why = || format!("{:.100} is missing in it", path.escape_debug().to_string());
        archive.member(path.trim_start_matches("./")).ok_or_else(|| explain(why()))
    };
    let config =
        Config::parse(&store::read(&member(&image.config)?, job.shown)?).map_err(explain)?;
    let platform = check_platform(&config, &wanted(job.spec), job)?;
    let digests = config.layers().map_err(explain)?;
    if digests.len() != image.layers.len() {
        return Err(explain("its layers are not those of its configuration".to_owned()));
    }
    let layers = image.layers.iter().zip(digests);
    let layers = layers
        .map(|(path, digest)| Ok((member(path)?, Expected::Unpacked(digest))))
        .collect::<Result<_>>()?;
    Ok(Image { digest: archive.digest.clone(), platform, config, layers })
}

/// An index may lie about an image, or say nothing.
fn check_platform(config: &Config, wanted: &Platform, job: &Job<'_>) -> Result<Platform> {
    let platform = config.platform();
    if wanted.fit(&platform).is_some() {
        return Ok(platform);
    }
    let shown = platform.to_string().escape_debug().to_string();
    let why = format!("it is an image for {shown:.100}, not for {wanted}");
    Err(refused(job.shown, why).remedy(format!(
        "take an image for this machine, or say that you want this one (--platform {shown:.100})"
    )))
}

/// Makes the template. `source` is the digest of the source, if it is not that of the manifest.
fn make(
    job: Job<'_>,
    contents: &Contents<'_>,
    source: Option<Digest>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Digest, Origin)> {
    match contents {
        Contents::Image(image) => make_of_image(job, image, source, progress),
        Contents::Artifact(artifact) => artifact.make(job, source, progress),
    }
}

fn make_of_image(
    job: Job<'_>,
    image: &Image<'_>,
    source: Option<Digest>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Digest, Origin)> {
    let Job { staging, shown, derived, spec, on_top, check } = job;
    let count = image.layers.len();
    let mut layers = Vec::new();
    for (number, (part, expected)) in image.layers.iter().enumerate() {
        let blob = Blob {
            start: part.start,
            end: End::Any,
            expected: expected.clone(),
            ..Blob::new(
                part.held.file(),
                part.size,
                part.packing(shown)?,
                &format!("{shown}, layer {} of {count}", number + 1),
            )
        };
        layers.push(Layer { files: Files::Archive(blob), has_whiteouts: true, is_on_top: false });
    }
    let run = image.config.run();
    layers.extend(on_top.layers(Some(&run)));
    let files = RootFs {
        shown: shown.to_owned(),
        derived,
        layers,
        size: spec.size,
        is_guess: false,
        may_be_disk: Some(spec),
        source_digest: Some(source.unwrap_or_else(|| image.digest.clone())),
        check,
        cancel: &spec.cancel,
    };
    let made = rootfs::make(staging, files, progress)?;
    staging.write_config(&ImageConfig {
        manifest: image.digest.clone(),
        platform: image.platform.to_string(),
        run,
    })?;
    Ok(made)
}
