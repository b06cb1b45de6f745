//! `calf serve`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use calf::csi::{
    DEFAULT_DRIVER_NAME, DEFAULT_PARALLEL_IMPORTS, InlineCaps, ServeConfig, TemplatePattern,
};
use calf::kubernetes::KubernetesConfig;
use calf::sys::privilege;
use calf::sys::privilege::SystemCalls;
use calf::{Error, ErrorKind, GuardOptions, MAX_SIZE, RequiredTemplates, Result, Watermark, csi};
use tokio::signal::unix::{SignalKind, signal};

use super::context::{Context, parsed, size};
use super::logging::LogFormat;
use super::output::Outcome;

/// Most imports at a time: each takes 6 MiB of memory, and none is faster for the others.
const MAX_PARALLEL_IMPORTS: usize = 64;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The socket to listen on, such as unix:///run/calf/csi.sock
    #[arg(long, value_name = "URL", env = "CSI_ENDPOINT", hide_env_values = true)]
    endpoint: String,
    /// Make the pool if there is none; otherwise the driver does not start without one
    #[arg(long, env = "CALF_CREATE_POOL", hide_env_values = true)]
    create_pool: bool,
    /// This node's name in the cluster; also taken from KUBE_NODE_NAME
    #[arg(long, value_name = "ID", env = "CALF_NODE_ID", hide_env_values = true)]
    node_id: Option<String>,
    /// Name of the CSI driver
    #[arg(long, value_name = "NAME", env = "CALF_DRIVER_NAME", hide_env_values = true)]
    #[arg(default_value = DEFAULT_DRIVER_NAME)]
    driver_name: String,
    /// Maximum number of volumes on this node, inline volumes included; 0 means no limit
    #[arg(long, value_name = "N", env = "CALF_MAX_VOLUMES_PER_NODE", hide_env_values = true)]
    #[arg(default_value_t = 0)]
    max_volumes_per_node: u32,
    #[command(flatten)]
    inline: InlineArgs,
    /// The largest volume that may be made, or that a volume may grow to
    #[arg(long, value_name = "SIZE", env = "CALF_MAX_VOLUME_SIZE", hide_env_values = true)]
    #[arg(default_value = "15Ti", value_parser = max_volume_size)]
    max_volume_size: u64,
    /// How long running calls may take to end after SIGTERM
    #[arg(long, value_name = "TIME", env = "CALF_DRAIN_TIMEOUT", hide_env_values = true)]
    #[arg(default_value = "30s", value_parser = humantime::parse_duration)]
    drain_timeout: Duration,
    /// Serve /metrics, /healthz and /readyz over HTTP on this address, such as 0.0.0.0:9810
    #[arg(long, value_name = "IP:PORT", env = "CALF_METRICS_ADDRESS", hide_env_values = true)]
    metrics_address: Option<SocketAddr>,
    /// Serve /healthz and /readyz alone on this address, such as 0.0.0.0:9811, out of the way of who
    /// reads metrics
    #[arg(long, value_name = "IP:PORT", env = "CALF_PROBE_ADDRESS", hide_env_values = true)]
    probe_address: Option<SocketAddr>,
    /// A JSON list of templates to keep in the pool; the driver imports them while it serves
    #[arg(long, value_name = "FILE", env = "CALF_TEMPLATES", hide_env_values = true)]
    templates: Option<PathBuf>,
    /// How many of these templates to import at a time, so that a slow server does not hold back the
    /// others
    #[arg(long, value_name = "N", env = "CALF_PARALLEL_IMPORTS", hide_env_values = true)]
    #[arg(default_value_t = DEFAULT_PARALLEL_IMPORTS, value_parser = parallel_imports)]
    parallel_imports: usize,
    /// Post Kubernetes Events that say why a claim waits; needs a service account
    #[arg(long, env = "CALF_KUBERNETES_EVENTS", hide_env_values = true)]
    kubernetes_events: bool,
    /// How often to reconcile, as `calf reconcile` does; 0s means only at start
    #[arg(long, value_name = "TIME", env = "CALF_RECONCILE_INTERVAL", hide_env_values = true)]
    #[arg(default_value = "5m", value_parser = humantime::parse_duration)]
    reconcile_interval: Duration,
    /// Free space of the pool below which volumes that write are suspended, until there is room; 0 never
    /// suspends any
    ///
    /// A size, or a part of the pool's file system such as 16%. By default half of --reserve; and 16%,
    /// which is above kubelet's thresholds for evicting pods, if that is more and --kubelet-dir is on the
    /// pool's file system.
    #[arg(long, value_name = "SIZE|PERCENT", env = "CALF_GUARD_LOW", hide_env_values = true)]
    #[arg(value_parser = parsed::<Watermark>)]
    guard_low: Option<Watermark>,
    /// Free space of the pool above which they go on; by default half of --reserve more than --guard-low,
    /// or a sixteenth more if that is more
    #[arg(long, value_name = "SIZE|PERCENT", env = "CALF_GUARD_RESUME", hide_env_values = true)]
    #[arg(value_parser = parsed::<Watermark>)]
    guard_resume: Option<Watermark>,
    /// Kernel memory that each snapshot on this node sets aside for copying, such as 64Ki; unless given, the
    /// node's setting stays
    ///
    /// This sets dm-mod's parameter `kcopyd_subjob_size_kb`, which the kernel has at 512 KiB. It applies to
    /// volumes that are activated from then on, and to whatever else copies through device-mapper on this
    /// node.
    #[arg(long, value_name = "SIZE", env = "CALF_KCOPYD_SUBJOB_SIZE", hide_env_values = true)]
    #[arg(value_parser = kcopyd_subjob_size)]
    kcopyd_subjob_size: Option<u64>,
    /// Directory of this node's kubelet
    #[arg(long, value_name = "DIR", env = "CALF_KUBELET_DIR", hide_env_values = true)]
    #[arg(default_value = "/var/lib/kubelet")]
    kubelet_dir: PathBuf,
    /// Register with the kubelet, by a socket in the directory plugins_registry of --kubelet-dir
    ///
    /// The kubelet must see --endpoint at the same path as the driver. Without this option, run
    /// node-driver-registrar beside the driver.
    #[arg(long, env = "CALF_REGISTER", hide_env_values = true)]
    register: bool,
    /// Allow every system call, for a C library that needs a call that calf does not list
    #[arg(long, env = "CALF_NO_SECCOMP", hide_env_values = true)]
    no_seccomp: bool,
    /// How to log
    #[arg(long, value_enum, value_name = "FORMAT", env = "CALF_LOG_FORMAT")]
    #[arg(hide_env_values = true, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,
}

/// What pods may ask of inline volumes.
#[derive(clap::Args)]
struct InlineArgs {
    /// Let pods have inline volumes, which anyone who may create a pod can ask for
    #[arg(long, env = "CALF_INLINE_VOLUMES", hide_env_values = true)]
    inline_volumes: bool,
    /// The largest inline volume; by default, that of all volumes
    #[arg(long, value_name = "SIZE", env = "CALF_INLINE_MAX_SIZE", hide_env_values = true)]
    #[arg(value_parser = size)]
    inline_max_size: Option<u64>,
    /// Most that an inline volume may write, and its limit if it asks for none; by default, its size
    #[arg(long, value_name = "SIZE", env = "CALF_INLINE_MAX_COW_LIMIT", hide_env_values = true)]
    #[arg(value_parser = cow_limit)]
    inline_max_cow_limit: Option<u64>,
    /// Templates of inline volumes: names, or starts of names such as `debian-*`; by default, all
    #[arg(long, value_name = "NAMES", env = "CALF_INLINE_TEMPLATES", hide_env_values = true)]
    #[arg(value_delimiter = ',')]
    inline_templates: Vec<TemplatePattern>,
    /// What inline volumes may ask for: `reserve` (allocated space), `durable`; by default, neither
    #[arg(long, value_enum, value_name = "WORDS", env = "CALF_INLINE_ALLOW")]
    #[arg(hide_env_values = true, hide_possible_values = true, value_delimiter = ',')]
    inline_allow: Vec<Policy>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Policy {
    Reserve,
    Durable,
}

impl InlineArgs {
    fn caps(self) -> InlineCaps {
        let mut caps = InlineCaps::default();
        caps.enabled = self.inline_volumes;
        caps.max_size = self.inline_max_size;
        caps.max_cow_limit = self.inline_max_cow_limit;
        caps.reserve = self.inline_allow.contains(&Policy::Reserve);
        caps.durable = self.inline_allow.contains(&Policy::Durable);
        caps.templates = self.inline_templates;
        caps
    }
}

pub(super) fn run(context: &Context, args: Args) -> Result<Outcome> {
    let config = ServeConfig {
        endpoint: args.endpoint,
        driver_name: args.driver_name,
        node_id: args.node_id.map_or_else(node_name, Ok)?,
        register_with: args.register.then(|| args.kubelet_dir.clone()),
        max_volumes_per_node: args.max_volumes_per_node,
        inline: args.inline.caps(),
        drain_timeout: args.drain_timeout,
        metrics_address: args.metrics_address,
        probe_address: args.probe_address,
        templates: match &args.templates {
            Some(path) => RequiredTemplates::read(path)?,
            None => RequiredTemplates::default(),
        },
        parallel_imports: args.parallel_imports,
        kubernetes: args.kubernetes_events.then(KubernetesConfig::in_cluster).transpose()?,
        reconcile_interval: args.reconcile_interval,
        guard: GuardOptions::default()
            .low(args.guard_low)
            .resume(args.guard_resume)
            .kubelet(args.kubelet_dir),
    };
    privilege::drop_capabilities()?;
    if args.no_seccomp {
        tracing::warn!("system calls are not limited: --no-seccomp was given");
    } else if privilege::limit_system_calls()? == SystemCalls::Unlimited {
        tracing::warn!("system calls are not limited: this kernel has no seccomp filters");
    }
    let options = context.options().create(args.create_pool).max_volume_size(args.max_volume_size);
    let pool = options.open(&context.pool_path)?;
    if let Some(bytes) = args.kcopyd_subjob_size {
        pool.set_copy_buffer(bytes)?;
    }
    let failed = |e| Error::io("start", "the driver", e);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed)?;
    let served = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        csi::serve(pool, config, shutdown).await
    });
    // Calls that outlived the drain timeout end with the process.
    runtime.shutdown_background();
    served.map(|()| Outcome::Success)
}

/// Parses the bound of limits, which must be at least the largest chunk.
fn cow_limit(text: &str) -> Result<u64, String> {
    match size(text)? {
        bytes if bytes < 1 << 20 => Err("give at least 1Mi".to_owned()),
        bytes => Ok(bytes),
    }
}

/// Parses the bound of volumes' sizes.
fn max_volume_size(text: &str) -> Result<u64, String> {
    match size(text)? {
        0 => Err("no volume could be made; give more than 0".to_owned()),
        bytes if bytes > MAX_SIZE => Err("no volume can be larger than 15Ti".to_owned()),
        bytes => Ok(bytes),
    }
}

/// Parses the size of copy buffers, which the kernel has in KiB, and in whole pages.
fn kcopyd_subjob_size(text: &str) -> Result<u64, String> {
    match size(text)? {
        bytes @ 0x1000..=0x10_0000 if bytes.is_multiple_of(4096) => Ok(bytes),
        _ => Err("give a multiple of 4Ki, from 4Ki to 1Mi".to_owned()),
    }
}

fn parallel_imports(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ 1..=MAX_PARALLEL_IMPORTS) => Ok(n),
        _ => Err(format!("give a number from 1 to {MAX_PARALLEL_IMPORTS}")),
    }
}

fn node_name() -> Result<String> {
    std::env::var("KUBE_NODE_NAME").ok().filter(|name| !name.is_empty()).ok_or_else(|| {
        Error::new(ErrorKind::InvalidArgument, "start", "the driver", "this node has no name")
            .remedy("give --node-id, or set CALF_NODE_ID or KUBE_NODE_NAME")
    })
}
