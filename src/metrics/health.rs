//! Whether the driver is alive, and whether it is ready for calls.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::api::Pool;

/// How long to wait for a thread, and for the pool, before the driver counts as unable to serve.
const PATIENCE: Duration = Duration::from_secs(10);

/// The phase of a driver's life cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Reconciling; the socket may exist, but does not answer yet.
    Starting,
    /// The CSI socket answers.
    Serving,
    /// Stopping: waiting for the last calls to end.
    Stopping,
}

/// The health of a driver: what `/readyz` and gRPC's health protocol answer.
///
/// One look at the pool is taken at a time, however many ask, and keeps its turn until its thread has
/// ended: a file system that hangs costs one thread.
#[derive(Debug)]
pub(crate) struct Health {
    phase: AtomicU8,
    pool: Pool,
    looking: Arc<Semaphore>,
    /// Why kubelet did not register the driver when it last tried.
    refusal: Mutex<Option<String>>,
}

impl Health {
    pub(crate) fn new(pool: Pool) -> Self {
        let phase = AtomicU8::new(Phase::Starting as u8);
        Self { phase, pool, looking: Arc::new(Semaphore::new(1)), refusal: Mutex::default() }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Takes note of what kubelet said of the driver's registration.
    pub(crate) fn registered(&self, outcome: Result<(), String>) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = outcome.err();
    }

    /// Returns an error with the reason if volumes cannot be made and used here now. Missing
    /// templates are not a reason: the other templates work, and a scheduler learns of each
    /// template through capacity.
    pub(crate) async fn ready(&self) -> Result<(), String> {
        let phase = self.phase.load(Ordering::Relaxed);
        if phase == Phase::Starting as u8 {
            return Err("the driver is starting: it reconciles the pool".to_owned());
        }
        if phase == Phase::Stopping as u8 {
            return Err("the driver is shutting down".to_owned());
        }
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(why) = refusal {
            return Err(format!("kubelet refused to register the driver: {why}"));
        }
        let (pool, looking) = (self.pool.clone(), Arc::clone(&self.looking));
        let looked = async {
            let turn = looking.acquire_owned().await.ok()?;
            let look = move || {
                let _turn = turn;
                pool.backing().and_then(|_| pool.capacity()).map_err(|error| error.report())
            };
            tokio::task::spawn_blocking(look).await.ok()
        };
        match tokio::time::timeout(PATIENCE, looked).await {
            Ok(Some(looked)) => looked.map(drop),
            Ok(None) | Err(_) => {
                Err("no answer from the pool: its file system or too many calls hang".to_owned())
            }
        }
    }

    /// Returns an error if the process is of no use. A CSI call needs a thread.
    pub(crate) async fn alive(&self) -> Result<(), &'static str> {
        match tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(|| ())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err("no thread is free for a call"),
        }
    }
}
