//! The driver's life cycle: check, clean up, listen, serve, drain.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic_health::pb::health_server::HealthServer;

use crate::api::Pool;
use crate::csi::driver::{Driver, Service};
use crate::csi::guard::{Watch, Watchman};
use crate::csi::health::Checks;
use crate::csi::housekeeping::Housekeeping;
use crate::csi::inline::{InlineCaps, InlineVolumes};
use crate::csi::registration::Registration;
use crate::csi::spares::Warmer;
use crate::csi::templates::Keeper;
use crate::csi::topology::Topology;
use crate::csi::v1::controller_server::ControllerServer;
use crate::csi::v1::group_controller_server::GroupControllerServer;
use crate::csi::v1::identity_server::IdentityServer;
use crate::csi::v1::node_server::NodeServer;
use crate::csi::v1::snapshot_metadata_server::SnapshotMetadataServer;
use crate::csi::{housekeeping, identity, reflection, request, socket, supervisor};
use crate::error::{Error, ErrorKind, Result};
use crate::guard::watermark::GuardOptions;
use crate::kubernetes::{Events, KubernetesConfig};
use crate::metrics;
use crate::metrics::{Exporter, Health, Metrics, Phase, Probes};
use crate::model::policy::Backing;
use crate::template::required::RequiredTemplates;

/// The default name of the driver, by which StorageClasses and pods refer to it.
pub const DEFAULT_DRIVER_NAME: &str = "calf.csi.dev";
/// How long a shutdown waits for calls to end by default: the grace period that Kubernetes gives a
/// pod.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the driver reconciles after its start by default.
pub const DEFAULT_RECONCILE_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// How many templates the driver imports at a time by default.
pub const DEFAULT_PARALLEL_IMPORTS: usize = 3;

/// CSI's limit for a driver's name.
const MAX_DRIVER_NAME: usize = 63;
/// Largest request in bytes. CSI allows 4 KiB for each map and 128 bytes for most strings.
const MAX_REQUEST: usize = 1 << 20;

/// The configuration of the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeConfig {
    /// Where to listen: `unix:///path`, `unix:/path` or an absolute path.
    pub endpoint: String,
    /// The driver's name, in domain notation.
    pub driver_name: String,
    /// This node's id: unique in the cluster, and a valid label value.
    pub node_id: String,
    /// The directory of the kubelet with which the driver registers itself; `None` if it does not, or
    /// if node-driver-registrar does. Kubelet must see the endpoint at the same path as the driver.
    pub register_with: Option<PathBuf>,
    /// Maximum number of volumes on this node: the orchestrator keeps to it for volumes of claims, the
    /// driver for inline volumes. 0 means no limit.
    pub max_volumes_per_node: u32,
    /// What pods may ask of inline volumes; by default, there are none.
    pub inline: InlineCaps,
    /// How long a shutdown waits for calls to end.
    pub drain_timeout: Duration,
    /// Where to serve metrics, health and readiness over HTTP; `None` for nowhere.
    pub metrics_address: Option<SocketAddr>,
    /// Where to serve health and readiness alone, out of the way of who reads metrics.
    pub probe_address: Option<SocketAddr>,
    /// Templates to keep in the pool, imported while the driver serves.
    pub templates: RequiredTemplates,
    /// How many of them are imported at a time, at least one.
    pub parallel_imports: usize,
    /// Where to post Kubernetes Events; `None` for nowhere.
    pub kubernetes: Option<KubernetesConfig>,
    /// How often to reconcile after the start; zero means never.
    pub reconcile_interval: Duration,
    /// At which free space volumes that write are suspended.
    pub guard: GuardOptions,
}

impl ServeConfig {
    /// The defaults for an endpoint and a node.
    pub fn new(endpoint: impl Into<String>, node_id: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            driver_name: DEFAULT_DRIVER_NAME.to_owned(),
            node_id: node_id.into(),
            register_with: None,
            max_volumes_per_node: 0,
            inline: InlineCaps::default(),
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            metrics_address: None,
            probe_address: None,
            templates: RequiredTemplates::default(),
            parallel_imports: DEFAULT_PARALLEL_IMPORTS,
            kubernetes: None,
            reconcile_interval: DEFAULT_RECONCILE_INTERVAL,
            guard: GuardOptions::default(),
        }
    }
}

/// How long the last responses may take to reach their callers when the driver ends.
const LAST_RESPONSES: Duration = Duration::from_millis(500);
/// How long imports may take to record how far they are when the driver ends.
const LAST_IMPORTS: Duration = Duration::from_secs(5);

/// Serves all services of CSI on one socket until `shutdown` completes, then waits for calls to end. The socket also serves gRPC's own health and reflection services.
///
/// If `NOTIFY_SOCKET` is set, notifies the service manager that started the process when the driver
/// is ready and when it stops.
///
/// If calls are still running after [`ServeConfig::drain_timeout`], the function logs that and
/// returns nevertheless, while their threads run on: end the process then, rather than wait for the
/// runtime. The next start completes or undoes what these calls had not finished.
///
/// # Errors
///
/// `InvalidArgument` for an invalid configuration, `Unsupported` if the kernel lacks dm-snapshot
/// and the pool has no fallback, `InUse` if another driver serves the endpoint, and the errors of
/// reconciliation.
pub async fn serve(
    pool: Pool,
    config: ServeConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let path = socket::parse_endpoint(&config.endpoint)?;
    check_driver_name(&config.driver_name)?;
    let topology = Topology::new(&config.driver_name, &config.node_id)?;
    let (metrics, health) = (Arc::new(Metrics::new()), Arc::new(Health::new(pool.clone())));
    // Dropping it ends the tasks that run beside the driver.
    let mut beside = JoinSet::new();
    if let Some(address) = config.metrics_address {
        let listener = metrics::bind(address, "--metrics-address").await?;
        let (metrics, health) = (Arc::clone(&metrics), Arc::clone(&health));
        let required = Arc::new(config.templates.clone());
        let exporter = Exporter::new(pool.clone(), metrics, health, required);
        beside.spawn(metrics::serve(listener, Arc::new(exporter)));
        tracing::info!(target: "calf::csi", %address, "serving metrics");
    }
    if let Some(address) = config.probe_address {
        let listener = metrics::bind(address, "--probe-address").await?;
        beside.spawn(metrics::serve(listener, Arc::new(Probes(Arc::clone(&health)))));
        tracing::info!(target: "calf::csi", %address, "serving probes");
    }
    let events = match config.kubernetes.clone() {
        None => Events::off(),
        Some(to) => Events::start(to, &config.driver_name, &config.node_id, Arc::clone(&metrics))?,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let mut shutdown = pin!(shutdown);
    let mut prepared = pin!(blocking({
        let path = path.clone();
        let housekeeping = Housekeeping::new(pool.clone(), Arc::clone(&metrics), Arc::clone(&stop));
        let guard = pool.guard(&config.guard);
        let watchman = Watchman::new(guard, Arc::clone(&metrics), events.clone());
        move || prepare(housekeeping, watchman, &path)
    }));
    let (listener, _socket_file, housekeeping, _watch) = tokio::select! {
        prepared = &mut prepared => prepared?,
        () = &mut shutdown => {
            // The driver stops between two volumes, and removes its socket.
            stop.store(true, Ordering::Release);
            supervisor::stopping();
            let ended = tokio::time::timeout(config.drain_timeout, prepared).await;
            tracing::info!(target: "calf::csi", "stopped before the start was complete");
            return ended.unwrap_or_else(|_| Err(abandoned(&config))).map(drop);
        }
    };
    let changed = Arc::new(Notify::new());
    let keeper = Keeper::new(
        pool.clone(),
        Arc::clone(&metrics),
        events.clone(),
        Arc::clone(&changed),
        Arc::clone(&stop),
        config.parallel_imports.max(1),
    );
    let warmer = Warmer { pool: pool.clone(), changed, stop: Arc::clone(&stop) };
    let service = Service {
        pool,
        driver_name: config.driver_name.clone(),
        topology,
        max_volumes_per_node: config.max_volumes_per_node,
        inline: InlineVolumes::new(config.inline),
        events,
        metrics,
    };
    let driver = Driver::new(service);

    let listener =
        UnixListener::from_std(listener).map_err(|e| Error::io("serve", path.display(), e))?;
    let checks = Checks(Arc::clone(&health));
    let (close, closed) = oneshot::channel::<()>();
    let server = Server::builder()
        .add_service(IdentityServer::new(driver.clone()).max_decoding_message_size(MAX_REQUEST))
        .add_service(ControllerServer::new(driver.clone()).max_decoding_message_size(MAX_REQUEST))
        .add_service(
            GroupControllerServer::new(driver.clone()).max_decoding_message_size(MAX_REQUEST),
        )
        .add_service(NodeServer::new(driver.clone()).max_decoding_message_size(MAX_REQUEST))
        .add_service(
            SnapshotMetadataServer::new(driver.clone()).max_decoding_message_size(MAX_REQUEST),
        )
        .add_service(HealthServer::new(checks).max_decoding_message_size(MAX_REQUEST))
        .add_service(reflection::current()?.max_decoding_message_size(MAX_REQUEST))
        .add_service(reflection::former()?.max_decoding_message_size(MAX_REQUEST))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async {
            // An error means that `close` was dropped, which is the signal to stop.
            let _ = closed.await;
        });
    let failed = |e| Error::new(ErrorKind::Internal, "serve", &config.endpoint, e);
    let mut server = pin!(server);
    health.enter(Phase::Serving);
    beside.spawn(keeper.clone().run(config.templates));
    beside.spawn(warmer.run(driver.clone()));
    tracing::info!(
        target: "calf::csi",
        endpoint = %path.display(),
        driver = config.driver_name,
        node = config.node_id,
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    supervisor::serving();
    let _registration_file = match &config.register_with {
        None => None,
        Some(kubelet) => {
            let (registration, file) =
                Registration::listen(kubelet, &config.driver_name, &path, Arc::clone(&health))?;
            beside.spawn(registration.serve());
            Some(file)
        }
    };
    tokio::select! {
        ended = &mut server => return ended.map_err(failed),
        () = housekeeping.repeat(config.reconcile_interval) => {}
        () = &mut shutdown => {}
    }

    health.enter(Phase::Stopping);
    supervisor::stopping();
    tracing::info!(target: "calf::csi", running = driver.running(), "shutting down");
    stop.store(true, Ordering::Release);
    driver.stop_long_calls();
    drop(close);
    let drained = tokio::time::timeout(config.drain_timeout, async {
        tokio::select! {
            ended = &mut server => {
                driver.finished().await;
                ended
            }
            () = idle(&driver) => Ok(()),
        }
    });
    match drained.await {
        Ok(ended) => ended.map_err(failed)?,
        Err(_) => tracing::warn!(
            target: "calf::csi",
            running = driver.running(),
            timeout = ?config.drain_timeout,
            "calls did not end in time and are abandoned; the next start completes or undoes them"
        ),
    }
    if tokio::time::timeout(LAST_IMPORTS, keeper.ended()).await.is_err() {
        tracing::info!(target: "calf::csi", "an import is abandoned; the next start resumes it");
    }
    tracing::info!(target: "calf::csi", "stopped");
    Ok(())
}

/// Completes once no call has been running for a moment. An idle connection that its client keeps
/// open must not delay the shutdown.
async fn idle(driver: &Driver) {
    loop {
        driver.finished().await;
        tokio::time::sleep(LAST_RESPONSES).await;
        if driver.running() == 0 {
            return;
        }
    }
}

/// Everything that precedes the first call: checks that the kernel can make volumes and that no
/// other driver serves the endpoint, watches the pool's space, and repairs what a crash left behind.
fn prepare(
    mut housekeeping: Housekeeping,
    mut watchman: Watchman,
    path: &Path,
) -> Result<(std::os::unix::net::UnixListener, socket::SocketFile, Housekeeping, Watch)> {
    let pool = housekeeping.pool();
    let backing = pool.backing()?;
    let mode = identity::mode(backing);
    let root = pool.root().display();
    match backing {
        Backing::Snapshot => tracing::info!(target: "calf::csi", mode, pool = %root, "starting"),
        Backing::Reflink | Backing::Copy => tracing::warn!(
            target: "calf::csi", mode, pool = %root,
            "starting in fallback: volumes are private copies, not dm-snapshots; load \
             dm-snapshot and start again for copy-on-write volumes"
        ),
    }
    if let Some((what, help)) = pool.disk_risk() {
        tracing::warn!(target: "calf::csi", pool = %root, help, "the pool's place is a risk: {what}");
    }
    let (listener, socket_file) = socket::listen(path)?;
    // In a pool that is still nearly full, what an earlier guard suspended stays suspended.
    watchman.look();
    let watch = watchman.start()?;
    housekeeping::log(&housekeeping.run()?, tracing::Level::INFO);
    Ok((listener, socket_file, housekeeping, watch))
}

fn abandoned(config: &ServeConfig) -> Error {
    let why = format!("the first reconciliation did not end within {:?}", config.drain_timeout);
    Error::new(ErrorKind::Internal, "stop", "the driver", why)
        .remedy("nothing is lost: the next start continues it")
}

fn check_driver_name(name: &str) -> Result<()> {
    let alphanumeric = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let valid = bytes.len() <= MAX_DRIVER_NAME
        && alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(b));
    if valid {
        return Ok(());
    }
    Err(request::invalid("driver name", name, "it is not in domain notation").remedy(format!(
        "use at most {MAX_DRIVER_NAME} letters, digits, `-` and `.`, such as {DEFAULT_DRIVER_NAME}"
    )))
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::new(ErrorKind::Internal, "start", "the driver", error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn driver_names_are_in_domain_notation() {
        for good in [DEFAULT_DRIVER_NAME, "a", "a-b.c1", &"a".repeat(63)] {
            check_driver_name(good).unwrap();
        }
        for bad in ["", ".a", "a-", "a/b", "a_b", "ü.x", &"a".repeat(64)] {
            assert_eq!(check_driver_name(bad).unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
    }
}
