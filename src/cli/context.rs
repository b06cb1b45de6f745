//! The context of all commands: the global options, and the pool that they name.

use std::path::PathBuf;
use std::str::FromStr;

use calf::{DownloadOptions, Fallback, OvercommitRatio, Pool, PoolOptions, Result};
use clap::{Args, ValueEnum};

use super::logging::Verbosity;
use super::output::{Format, Output};

/// The default directory of the pool.
const DEFAULT_POOL: &str = "/var/lib/calf";

#[derive(Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct GlobalArgs {
    /// Directory of the pool
    #[arg(long, global = true, value_name = "DIR", env = "CALF_POOL", hide_env_values = true)]
    #[arg(default_value = DEFAULT_POOL)]
    pool: PathBuf,

    /// How to print results
    #[arg(long, short, global = true, value_enum, value_name = "FORMAT", env = "CALF_OUTPUT")]
    #[arg(hide_env_values = true, default_value_t = Format::Table)]
    output: Format,

    /// Print only requested output and errors: no progress, no confirmations, no warnings
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,

    /// Log more to stderr: -v what calf does, -vv how, -vvv everything
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,

    /// Space of the pool's file system that imports and new volumes leave free
    ///
    /// Running volumes can still write into this space. All processes on a pool should use the same
    /// value.
    #[arg(long, global = true, value_name = "SIZE", env = "CALF_RESERVE", hide_env_values = true)]
    #[arg(hide_short_help = true, default_value = "256Mi", value_parser = size)]
    reserve: u64,

    /// Bound what all volumes may still write: at most RATIO times the free space beyond the reserve
    ///
    /// 1 means that volumes cannot fill the pool; 4 means that it is enough if they write a quarter of what
    /// they may. Calls that would exceed it are refused. Without it, nothing is bounded. All processes on
    /// a pool should use the same value.
    #[arg(long, global = true, value_name = "RATIO", env = "CALF_OVERCOMMIT_RATIO")]
    #[arg(hide_short_help = true, hide_env_values = true, value_parser = parsed::<OvercommitRatio>)]
    overcommit_ratio: Option<OvercommitRatio>,

    /// Bound the kernel's memory that volumes may come to take for what they write
    ///
    /// 33 bytes for each chunk that a volume may write: 8.25 MiB per GiB with chunks of 4 KiB. Calls that would
    /// exceed it are refused. Without it, nothing is bounded. All processes on a pool should use the
    /// same value.
    #[arg(long, global = true, value_name = "SIZE", env = "CALF_MAX_KERNEL_MEMORY")]
    #[arg(hide_short_help = true, hide_env_values = true, value_parser = size)]
    max_kernel_memory: Option<u64>,

    /// Refuse the pool's directory unless a file system is mounted at it
    ///
    /// For a pool on a file system of its own: while that is not mounted, calf does not touch what is
    /// below the mount point.
    #[arg(long, global = true, env = "CALF_REQUIRE_MOUNT", hide_env_values = true)]
    #[arg(hide_short_help = true)]
    require_mount: bool,

    /// PEM file with the certificate authorities to trust for https images, instead of the built-in
    /// ones
    #[arg(long, global = true, value_name = "FILE", env = "CALF_TLS_CA", hide_env_values = true)]
    #[arg(hide_short_help = true)]
    tls_ca: Option<PathBuf>,

    /// File with credentials for registries of container images, as `docker login` writes it
    #[arg(long, global = true, value_name = "FILE", env = "CALF_REGISTRY_AUTH_FILE")]
    #[arg(hide_short_help = true, hide_env_values = true)]
    registry_auth_file: Option<PathBuf>,

    /// Give up the download of an image that stays below this many bytes per second for a minute; 0
    /// for never
    #[arg(long, global = true, value_name = "SIZE", env = "CALF_MIN_DOWNLOAD_RATE")]
    #[arg(hide_short_help = true, hide_env_values = true, default_value = "64Ki", value_parser = size)]
    min_download_rate: u64,

    /// Where Kata's runtimes look for direct-assigned volumes
    ///
    /// All processes on a pool should use the same directory, since calf looks there for volumes in
    /// use.
    #[arg(long, global = true, value_name = "DIR", env = "CALF_KATA_DIRECT_VOLUMES")]
    #[arg(hide_short_help = true, hide_env_values = true, default_value = PoolOptions::DEFAULT_KATA_ROOT)]
    kata_direct_volumes: PathBuf,

    /// How to make volumes if the kernel has no dm-snapshot; by default, calf then refuses to make
    /// them
    #[arg(long, global = true, value_enum, value_name = "HOW", env = "CALF_FALLBACK")]
    #[arg(hide_short_help = true, hide_env_values = true)]
    fallback: Option<FallbackArg>,
}

#[derive(Clone, Copy, ValueEnum)]
enum FallbackArg {
    /// A reflink copy of the template; needs a pool on XFS or Btrfs
    Reflink,
    /// A full copy of the template's data: slow, and as large as the template
    Copy,
}

/// The global options, ready for use.
pub(super) struct Context {
    pub(super) output: Output,
    pub(super) pool_path: PathBuf,
    reserve: u64,
    overcommit_ratio: Option<OvercommitRatio>,
    max_kernel_memory: Option<u64>,
    fallback: Option<Fallback>,
    tls_ca: Option<PathBuf>,
    registry_auth_file: Option<PathBuf>,
    min_download_rate: u64,
    kata_direct_volumes: PathBuf,
    require_mount: bool,
}

impl GlobalArgs {
    /// How to print.
    pub(super) fn output(&self) -> Output {
        Output { format: self.output, quiet: self.quiet }
    }

    /// How much to log.
    pub(super) fn verbosity(&self) -> Verbosity {
        if self.quiet { Verbosity::Quiet } else { Verbosity::Raised(self.verbose) }
    }
}

impl Context {
    pub(super) fn new(args: GlobalArgs) -> Self {
        Self {
            output: args.output(),
            pool_path: args.pool,
            reserve: args.reserve,
            overcommit_ratio: args.overcommit_ratio,
            max_kernel_memory: args.max_kernel_memory,
            fallback: args.fallback.map(|fallback| match fallback {
                FallbackArg::Reflink => Fallback::Reflink,
                FallbackArg::Copy => Fallback::Copy,
            }),
            tls_ca: args.tls_ca,
            registry_auth_file: args.registry_auth_file,
            min_download_rate: args.min_download_rate,
            kata_direct_volumes: args.kata_direct_volumes,
            require_mount: args.require_mount,
        }
    }

    /// The pool, created if it does not exist.
    pub(super) fn pool(&self) -> Result<Pool> {
        self.options().open(&self.pool_path)
    }

    /// The options for opening the pool.
    pub(super) fn options(&self) -> PoolOptions {
        let downloads = DownloadOptions::default()
            .certificates(self.tls_ca.clone())
            .registry_auth(self.registry_auth_file.clone())
            .least_rate(self.min_download_rate);
        PoolOptions::default()
            .reserve(self.reserve)
            .overcommit_ratio(self.overcommit_ratio)
            .max_kernel_memory(self.max_kernel_memory)
            .fallback(self.fallback)
            .downloads(downloads)
            .kata_root(&self.kata_direct_volumes)
            .require_mount(self.require_mount)
    }

    /// The pool, which must exist: a mistyped path must not become a pool.
    pub(super) fn existing_pool(&self) -> Result<Pool> {
        self.options().create(false).open(&self.pool_path)
    }
}

/// Parses a size argument.
pub(super) fn size(text: &str) -> Result<u64, String> {
    calf::units::parse_size("size", text).map_err(|error| without_value(&error))
}

/// Parses an argument that the library parses.
pub(super) fn parsed<T: FromStr<Err = calf::Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| without_value(&error))
}

/// Why a value is refused, without the value, which clap shows.
fn without_value(error: &calf::Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    let mut parts: Vec<String> = cause.into_iter().collect();
    parts.extend(error.remedies().into_iter().map(str::to_owned));
    parts.join("; ")
}
