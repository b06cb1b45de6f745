//! `calf template create`

use calf::units::format_size;
use calf::{Digest, EmptyFileSystem, ImportSpec, Result};
use clap::{Args, ValueEnum};

use super::View;
use crate::cli::context::{self, Context};
use crate::cli::interrupt;
use crate::cli::progress::Display;

#[derive(Args)]
pub(in crate::cli) struct CreateArgs {
    /// Make an empty file system of this kind
    #[arg(long, value_enum, value_name = "KIND")]
    empty: EmptyArg,
    /// Its size, at least 16Mi; volumes may be larger
    #[arg(long, value_name = "SIZE", value_parser = context::size)]
    size: u64,
    /// The template's name: letters, digits, '.', '_' and '-'
    #[arg(long, short)]
    name: String,
    /// SHA-256 that it must have
    #[arg(long, value_name = "DIGEST")]
    sha256: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum EmptyArg {
    Ext4,
}

impl From<EmptyArg> for EmptyFileSystem {
    fn from(kind: EmptyArg) -> Self {
        match kind {
            EmptyArg::Ext4 => Self::Ext4,
        }
    }
}

pub(super) fn create(context: &Context, args: &CreateArgs) -> Result<()> {
    let digest = args.sha256.as_deref().map(Digest::parse).transpose()?;
    let kind = EmptyFileSystem::from(args.empty);
    let spec = ImportSpec::new(kind, &args.name)
        .size(args.size)
        .digest(digest)
        .cancel(interrupt::cancel()?);
    let pool = context.pool()?;
    let mut display = Display::new(context.output);
    let record = pool.import_template(&spec, &mut |progress| display.update(progress))?;
    drop(display);
    context.output.done(&View::from(&record), [&record.name], || {
        let (name, size) = (&record.name, format_size(record.size));
        format!("created template {name} ({size}, empty {kind}, {})", record.digest.qualified())
    })
}
