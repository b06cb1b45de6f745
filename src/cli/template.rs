//! `calf template`

mod commit;
mod create;

use std::cmp::Reverse;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use calf::units::format_size;
use calf::{
    Cancel, Digest, Error, ImageConfig, ImportFormat, ImportSource, ImportSpec, Partition,
    Platform, Result, Run, TemplateRecord, TemplateStatus, digest_in_checksums,
};
use clap::{Args, Subcommand, ValueEnum};
use commit::CommitArgs;
use create::CreateArgs;
use jiff::Timestamp;
use serde::Serialize;

use super::complete;
use super::context::{Context, parsed};
use super::help;
use super::output::{Found, Outcome, age, fields, moment, table};
use super::progress::Display;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Import a disk image or a root file system under a name
    #[command(after_help = help::IMPORT)]
    Import(Box<ImportArgs>),
    /// Make a template with an empty file system
    #[command(after_help = help::CREATE_EMPTY)]
    Create(CreateArgs),
    /// Make a template of what a snapshot or a volume holds, of the same blocks
    #[command(after_help = help::COMMIT)]
    Commit(CommitArgs),
    /// List all templates
    #[command(visible_alias = "ls")]
    List {
        /// Sort by name, by age (youngest first), or by size (largest first)
        #[arg(long, value_enum, value_name = "KEY", default_value_t = SortKey::Name)]
        sort: SortKey,
        /// Reverse the order
        #[arg(long, short)]
        reverse: bool,
    },
    /// Show one template, and the volumes and snapshots that rest on it
    Inspect {
        /// The template
        #[arg(add = complete::template())]
        name: String,
    },
    /// Set how many spare devices of a template to keep ready for new volumes, and make them
    #[command(after_help = help::WARM)]
    Warm {
        /// The template
        #[arg(add = complete::template())]
        name: String,
        /// How many spares; 0 for none
        #[arg(value_name = "N")]
        spares: u32,
    },
    /// Remove templates that no volume uses
    #[command(visible_alias = "rm")]
    Remove {
        /// The templates
        #[arg(required = true, value_name = "NAME", add = complete::template())]
        names: Vec<String>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum SortKey {
    Name,
    Age,
    Size,
}

#[derive(Args)]
pub(super) struct ImportArgs {
    /// The disk image, root file system or container image: a file, a directory, a block device, an http(s)
    /// URL, docker://NAME, or - for standard input
    #[arg(value_name = "IMAGE")]
    source: String,
    /// The template's name: letters, digits, '.', '_' and '-'
    #[arg(long, short)]
    name: String,
    /// SHA-256 that the file or the disk in it must have; required for a URL
    #[arg(long, value_name = "DIGEST")]
    sha256: Option<String>,
    /// Make the template of one partition of the disk: root, a number, or a label
    #[arg(long, value_name = "PARTITION", value_parser = parsed::<Partition>)]
    partition: Option<Partition>,
    /// What the source holds: rootfs for the files of a root file system, oci for a container image. By
    /// default, calf finds out by the content
    #[arg(long, value_name = "FORMAT", value_parser = parsed::<ImportFormat>)]
    format: Option<ImportFormat>,
    /// Size of the file system that is made of files; by default what they need, a quarter more, and at
    /// least 256 MiB of room
    #[arg(long, value_name = "SIZE", value_parser = super::context::size)]
    size: Option<u64>,
    /// Put the files of this directory or tar archive on those of the source; may be given more than once
    #[arg(long, value_name = "PATH")]
    layer: Vec<PathBuf>,
    /// Make this program /sbin/init; it finds how to run a container image in /etc/calf/image.json
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Platform of the container image to take, such as linux/arm64; by default that of this machine
    #[arg(long, value_name = "OS/ARCH", value_parser = parsed::<Platform>)]
    platform: Option<Platform>,
    /// File with the SHA-256 of the image under its file name, as publishers give it (SHA256SUMS)
    #[arg(long, value_name = "FILE", conflicts_with = "sha256")]
    sha256sums: Option<PathBuf>,
}

pub(super) fn run(context: &Context, command: Command) -> Result<Outcome> {
    match command {
        Command::Import(args) => import(context, *args),
        Command::Create(args) => create::create(context, &args),
        Command::Commit(args) => commit::commit(context, &args),
        Command::List { sort, reverse } => list(context, sort, reverse),
        Command::Inspect { name } => inspect(context, &name),
        Command::Warm { name, spares } => warm(context, &name, spares),
        Command::Remove { names } => {
            let pool = context.existing_pool()?;
            context.output.each("removed", "template", &names, |name| {
                pool.template(name)?.remove().map(|()| Found::There)
            })
        }
    }?;
    Ok(Outcome::Success)
}

fn import(context: &Context, args: ImportArgs) -> Result<()> {
    let source = ImportSource::parse(&args.source)?;
    let digest = match (&args.sha256, &args.sha256sums) {
        (Some(digest), _) => Some(Digest::parse(digest)?),
        (None, Some(list)) => Some(listed(&source, list)?),
        (None, None) => None,
    };
    let mut spec = ImportSpec::new(source, args.name)
        .digest(digest)
        .partition(args.partition)
        .format(args.format)
        .size(args.size)
        .platform(args.platform)
        .init(args.init);
    spec.layers = args.layer;
    let pool = context.pool()?;
    let mut display = Display::new(context.output);
    let record = pool.import_template(&spec, &mut |progress| display.update(progress))?;
    drop(display);
    let proof = spec.digest.map(|given| match given == record.digest {
        true => DigestOf::Content,
        false => DigestOf::Source,
    });
    let view = ImportView { template: View::from(&record), sha256_of: proof };
    context.output.done(&view, [&record.name], || {
        let (name, size, digest) =
            (&record.name, format_size(record.size), record.digest.qualified());
        let content = record.fs_type.as_deref().unwrap_or("no known file system");
        let text = format!("imported template {name} ({size}, {content}, {digest})");
        match proof {
            Some(DigestOf::Source) => {
                format!("{text}; the SHA-256 that was given is that of the source, which matches")
            }
            Some(DigestOf::Content) | None => text,
        }
    })
}

/// The digest of the source in a list of checksums.
fn listed(source: &ImportSource, list: &Path) -> Result<Digest> {
    /// Most bytes of a list: thousands of lines.
    const LONGEST: u64 = 1 << 20;
    let failed = |e| Error::io("read checksums from", list.display(), e);
    let name = source.file_name().ok_or_else(|| {
        Error::invalid("--sha256sums", "standard input has no name to look for")
            .remedy("give the digest itself (--sha256)")
    })?;
    let mut text = Vec::new();
    File::open(list).and_then(|file| file.take(LONGEST).read_to_end(&mut text)).map_err(failed)?;
    digest_in_checksums(&String::from_utf8_lossy(&text), &name)
}

fn list(context: &Context, sort: SortKey, reverse: bool) -> Result<()> {
    let mut templates = context.existing_pool()?.templates()?;
    match sort {
        // The pool returns them in this order.
        SortKey::Name => {}
        SortKey::Age => templates.sort_by_key(|template| Reverse(template.created)),
        SortKey::Size => templates.sort_by_key(|template| Reverse(template.size)),
    }
    if reverse {
        templates.reverse();
    }
    let views: Vec<View> = templates.iter().map(View::from).collect();
    let names = templates.iter().map(|template| &template.name);
    context.output.result(&serde_json::json!({ "templates": views }), names, || {
        let now = Timestamp::now();
        let rows = templates.iter().map(|t| {
            [
                t.name.clone(),
                format_size(t.size),
                t.fs_type.clone().unwrap_or_else(|| "-".into()),
                short(&t.digest),
                age(t.created, now),
            ]
        });
        table(["NAME", "SIZE", "FILE SYSTEM", "DIGEST", "AGE"], rows.collect())
    })
}

fn inspect(context: &Context, name: &str) -> Result<()> {
    let pool = context.existing_pool()?;
    let template = pool.template(name)?.status()?;
    let TemplateStatus { record, allocated, volumes, snapshots, source_digest, image, .. } =
        &template;
    let spares = pool.spares()?.get(name).copied().unwrap_or_default();
    let of_source = source_digest.as_ref().map(|digest| format!("sha256:{digest}"));
    let view = DetailView {
        template: record.into(),
        allocated: *allocated,
        source_digest: of_source.as_deref(),
        spares,
        volumes,
        snapshots,
        image,
    };
    context.output.result(&view, [name], || {
        let file_system = match (&record.fs_type, record.fs_block_size) {
            (Some(fs_type), Some(block)) => {
                format!("{fs_type}, blocks of {}", format_size(block.into()))
            }
            (Some(fs_type), None) => fs_type.clone(),
            (None, _) => "no known file system".into(),
        };
        let used_by = match volumes.as_slice() {
            [] => "no volume".to_owned(),
            [id] => format!("1 volume: {id}"),
            ids => format!("{} volumes: {}", ids.len(), ids.join(", ")),
        };
        let kept_by = match snapshots.as_slice() {
            [] => "no snapshot".to_owned(),
            [name] => format!("1 snapshot: {name}"),
            names => format!("{} snapshots: {}", names.len(), names.join(", ")),
        };
        let mut shown = vec![
            ("Name", record.name.clone()),
            ("Digest", record.digest.qualified()),
            ("Size", format!("{} ({} bytes)", format_size(record.size), record.size)),
            ("Allocated", format_size(*allocated)),
            ("File system", file_system),
            ("Spares", format!("{spares} of {}", record.warm)),
            ("Source", record.source.clone()),
            ("Source digest", of_source.clone().unwrap_or_else(|| "-".into())),
            ("Created", moment(record.created)),
            ("Used by", used_by),
            ("Kept by", kept_by),
        ];
        shown.extend(image.iter().flat_map(image_fields));
        fields(&shown)
    })
}

/// What is told of a container image.
fn image_fields(image: &ImageConfig) -> Vec<(&'static str, String)> {
    let Run { env, entrypoint, cmd, working_dir, user, stop_signal, .. } = &image.run;
    // Whoever made the image wrote these.
    let plain = |text: &str| text.escape_debug().to_string();
    let quoted = |words: &[String]| {
        words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" ")
    };
    let mut shown = vec![
        ("Image", format!("sha256:{} ({})", image.manifest, plain(&image.platform))),
        ("Entry point", quoted(entrypoint)),
        ("Command", quoted(cmd)),
        ("Directory", plain(working_dir)),
        ("User", plain(user)),
        ("Stop signal", plain(stop_signal)),
    ];
    shown.extend(env.iter().map(|variable| ("Variable", plain(variable))));
    shown.retain(|(_, value)| !value.is_empty());
    shown
}

fn warm(context: &Context, name: &str, spares: u32) -> Result<()> {
    let pool = context.existing_pool()?;
    let record = pool.template(name)?.set_warm(spares)?;
    // Another process may be making spares in the same pool, and makes the missing ones.
    let report = pool.tend_spares(&Cancel::never())?;
    let there = pool.spares()?.get(name).copied().unwrap_or_default();
    let view =
        WarmView { template: name, warm: record.warm, spares: there, failed: &report.failed };
    context.output.done(&view, [name], || {
        let mut text = format!("template {name}: {there} of {spares} spares are ready");
        for what in &report.failed {
            text.push_str(&format!("\nnot removed: {what}"));
        }
        text
    })
}

/// A prefix of a digest that is long enough to distinguish it.
fn short(digest: &Digest) -> String {
    match digest.sha256() {
        Some(digits) => digits.get(..12).unwrap_or(digits).to_owned(),
        None => digest.qualified().get(.."commit:".len() + 12).unwrap_or_default().to_owned(),
    }
}

// === JSON ===

/// A template in the output for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    name: &'a str,
    digest: String,
    size: u64,
    fs_type: Option<&'a str>,
    fs_block_size: Option<u32>,
    created: Timestamp,
    source: &'a str,
    warm: u32,
}

/// What the SHA-256 that was given is the digest of.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
enum DigestOf {
    Content,
    Source,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImportView<'a> {
    #[serde(flatten)]
    template: View<'a>,
    /// Only if a SHA-256 was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256_of: Option<DigestOf>,
}

#[derive(Serialize)]
struct WarmView<'a> {
    template: &'a str,
    warm: u32,
    spares: u64,
    failed: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DetailView<'a> {
    #[serde(flatten)]
    template: View<'a>,
    allocated: u64,
    source_digest: Option<&'a str>,
    spares: u64,
    volumes: &'a [String],
    snapshots: &'a [String],
    /// Only of a container image.
    #[serde(skip_serializing_if = "Option::is_none")]
    image: &'a Option<ImageConfig>,
}

impl<'a> From<&'a TemplateRecord> for View<'a> {
    fn from(record: &'a TemplateRecord) -> Self {
        Self {
            name: &record.name,
            digest: record.digest.qualified(),
            size: record.size,
            fs_type: record.fs_type.as_deref(),
            fs_block_size: record.fs_block_size,
            created: record.created,
            source: &record.source,
            warm: record.warm,
        }
    }
}
