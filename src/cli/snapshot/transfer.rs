//! `calf snapshot export` and `calf snapshot import`

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use calf::units::format_size;
use calf::{
    Error, ExportSpec, Exported, ImportedSnapshot, Result, SnapshotIdentity, SnapshotImportSpec,
};
use clap::Args;
use serde::Serialize;

use super::View;
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::interrupt;
use crate::cli::progress::Display;

#[derive(Args)]
pub(in crate::cli) struct Export {
    /// The snapshot
    #[arg(add = complete::snapshot())]
    name: String,
    /// The file, which is replaced if it exists; - for standard output
    #[arg(default_value = STANDARD, hide_default_value = true)]
    file: PathBuf,
    /// Write only what changed since this earlier snapshot of the same volume
    #[arg(long, value_name = "NAME", add = complete::snapshot())]
    base: Option<String>,
    /// Compress the content (zstd)
    #[arg(long)]
    compress: bool,
}

#[derive(Args)]
pub(in crate::cli) struct Import {
    /// The file; - for standard input
    #[arg(default_value = STANDARD, hide_default_value = true)]
    file: PathBuf,
    /// The snapshot's name in this pool: 1 to 128 bytes
    #[arg(long, short)]
    name: String,
    /// The snapshot that the stream was made upon [default: the one with its identity]
    #[arg(long, value_name = "NAME", add = complete::snapshot())]
    base: Option<String>,
}

/// The name that stands for standard output or input.
const STANDARD: &str = "-";

/// An export in the output for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExportView<'a> {
    snapshot: &'a str,
    identity: &'a SnapshotIdentity,
    /// What identifies the base; null if all that was written was exported.
    base: Option<&'a SnapshotIdentity>,
    /// Bytes of the volume in the stream.
    content: u64,
    /// Bytes of the stream.
    length: u64,
    /// The SHA-256 of the stream.
    sha256: &'a str,
}

/// An import in the output for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImportView<'a> {
    #[serde(flatten)]
    snapshot: View<'a>,
    /// The snapshot of this pool upon which it was made.
    base: Option<&'a str>,
    /// Whether an earlier call had made it.
    existed: bool,
    length: u64,
    sha256: &'a str,
}

pub(super) fn export(context: &Context, args: &Export) -> Result<()> {
    let spec = ExportSpec::new(&args.name)
        .base(args.base.clone())
        .compress(args.compress)
        .cancel(interrupt::cancel()?);
    let pool = context.existing_pool()?;
    let mut out = Out::open(&args.file)?;
    let mut display = Display::new(context.output);
    let exported =
        pool.export_snapshot(&spec, out.file(), &mut |progress| display.update(progress));
    drop(display);
    let exported = exported.inspect_err(|_| out.discard())?;
    let Exported { identity, base, content, length, digest, .. } = &exported;
    let (base, sha256) = (base.as_ref(), digest.as_str());
    let snapshot = &*args.name;
    let view = ExportView { snapshot, identity, base, content: *content, length: *length, sha256 };
    let sentence = || {
        let since = args.base.as_ref().map_or(String::new(), |base| format!(" since {base}"));
        format!(
            "exported snapshot {snapshot}{since} ({} in {}, sha256:{digest})",
            format_size(*content),
            format_size(*length)
        )
    };
    match out.keep()? {
        Destination::Standard => context.output.done_aside(&view, [snapshot], sentence),
        Destination::File => context.output.done(&view, [snapshot], sentence),
    }
}

pub(super) fn import(context: &Context, args: &Import) -> Result<()> {
    let spec =
        SnapshotImportSpec::new(&args.name).base(args.base.clone()).cancel(interrupt::cancel()?);
    let pool = context.existing_pool()?;
    let mut input = open(&args.file)?;
    let mut display = Display::new(context.output);
    let imported =
        pool.import_snapshot(&spec, &mut input, &mut |progress| display.update(progress));
    drop(display);
    let imported = imported?;
    let view = ImportView {
        snapshot: View::new(&pool, &imported.snapshot),
        base: imported.base.as_deref(),
        existed: imported.existed,
        length: imported.length,
        sha256: &imported.digest,
    };
    context.output.done(&view, [&args.name], || sentence(&args.name, &imported))
}

fn sentence(name: &str, imported: &ImportedSnapshot) -> String {
    let ImportedSnapshot { snapshot, base, existed, digest, .. } = imported;
    let volume = &snapshot.record.volume;
    if *existed {
        return format!("snapshot {name} of volume {volume} exists (sha256:{digest})");
    }
    let upon = base.as_ref().map_or(String::new(), |base| format!(" upon {base}"));
    let held = format_size(snapshot.allocated);
    format!("imported snapshot {name} of volume {volume}{upon} ({held}, sha256:{digest})")
}

fn open(path: &Path) -> Result<File> {
    if !is_standard(path) {
        return File::open(path).map_err(|e| Error::io("open", path.display(), e));
    }
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(Error::invalid("FILE", "standard input is a terminal")
            .remedy("give a file, or pipe into it what `calf snapshot export` writes"));
    }
    let copy = stdin.as_fd().try_clone_to_owned();
    Ok(copy.map_err(|e| Error::io("open", "standard input", e))?.into())
}

fn is_standard(path: &Path) -> bool {
    path.as_os_str() == STANDARD
}

/// Where an export ended up.
enum Destination {
    Standard,
    File,
}

/// Where an export goes.
enum Out {
    /// Standard output, a device or a pipe.
    Straight(File, Destination),
    /// A file that takes its place once it is complete.
    Beside { file: File, path: PathBuf, target: PathBuf },
}

impl Out {
    fn open(path: &Path) -> Result<Self> {
        if is_standard(path) {
            let stdout = io::stdout();
            if stdout.is_terminal() {
                return Err(Error::invalid("FILE", "standard output is a terminal")
                    .remedy("give a file, or send the stream through a pipe"));
            }
            let copy = stdout.as_fd().try_clone_to_owned();
            let copy = copy.map_err(|e| Error::io("open", "standard output", e))?;
            return Ok(Self::Straight(copy.into(), Destination::Standard));
        }
        let failed = |e| Error::io("create", path.display(), e);
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
            return Ok(Self::Straight(file, Destination::File));
        }
        // Where a symlink leads, so that it stays one.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mut name = target.file_name().map_or_else(OsString::new, ToOwned::to_owned);
        name.push(".partial");
        let beside = target.with_file_name(name);
        // It holds a tenant's data.
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&beside).map_err(failed)?;
        Ok(Self::Beside { file, path: beside, target })
    }

    fn file(&mut self) -> &mut File {
        match self {
            Self::Straight(file, _) | Self::Beside { file, .. } => file,
        }
    }

    /// Keeps what was written: a file on the disk, in its place.
    fn keep(self) -> Result<Destination> {
        let (file, path, target) = match self {
            Self::Straight(_, destination) => return Ok(destination),
            Self::Beside { file, path, target } => (file, path, target),
        };
        let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        file.sync_all()
            .and_then(|()| fs::rename(&path, &target))
            .and_then(|()| File::open(directory.unwrap_or(Path::new(".")))?.sync_all())
            .map(|()| Destination::File)
            .map_err(|e| Error::io("write", target.display(), e))
    }

    /// Removes what was written, after a failure that is told anyway.
    fn discard(&self) {
        if let Self::Beside { path, .. } = self {
            let _ = fs::remove_file(path);
        }
    }
}
