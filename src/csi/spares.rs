//! The warm pool in a running driver: makes spares while no call is in progress.
//!
//! After a call has claimed a spare, the driver makes a new one as soon as it has been idle for a
//! moment. With the next call it stops after the spare at hand, even if that call ends meanwhile: a
//! pod brings several calls, and the pauses between them are not idle time. It polls only
//! occasionally, for numbers of spares that another process has set.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::api::Pool;
use crate::csi::driver::Driver;
use crate::error::{Error, ErrorKind, Result};
use crate::model::cancel::Cancel;
use crate::reconcile::spares::SpareReport;

/// How long the driver must be idle: the next call for the same pod would have arrived by then.
const QUIET: Duration = Duration::from_millis(100);
/// Time between checks without a trigger.
const LOOK: Duration = Duration::from_secs(600);

/// Keeps the number of spares that the templates ask for.
pub(super) struct Warmer {
    pub(super) pool: Pool,
    /// Triggered when a template arrives or asks for another number of spares.
    pub(super) changed: Arc<Notify>,
    /// Set when the driver is stopping.
    pub(super) stop: Arc<AtomicBool>,
}

impl Warmer {
    /// Runs until it is dropped. A spare that is being made at that time is completed, or the next
    /// start removes it.
    pub(super) async fn run(self, driver: Driver) {
        let mut told = None;
        loop {
            let calls = quiet(&driver).await;
            let claimed = self.pool.claimed_spares();
            let (pool, cancel) = (self.pool.clone(), self.until_next_call(&driver, calls));
            let tended = tokio::task::spawn_blocking(move || pool.tend_spares(&cancel)).await;
            let tended = tended.unwrap_or_else(|panic| {
                Err(Error::new(ErrorKind::Internal, "tend", "the warm pool", panic))
            });
            let put_off = tended.as_ref().is_ok_and(|report| report.missing > 0);
            told = tell(tended, told);
            if !put_off {
                self.wait(&driver, claimed).await;
            }
        }
    }

    /// Ends the making of spares at the first call after this many, or when the driver stops.
    fn until_next_call(&self, driver: &Driver, calls: u64) -> Cancel {
        let (stop, driver) = (Arc::clone(&self.stop), driver.clone());
        Cancel::when(move || stop.load(Ordering::Acquire) || driver.begun() != calls)
    }

    /// Waits until there may be work.
    async fn wait(&self, driver: &Driver, claimed: u64) {
        let look = tokio::time::sleep(LOOK);
        tokio::pin!(look);
        while self.pool.claimed_spares() == claimed {
            tokio::select! {
                () = self.changed.notified() => return,
                () = driver.call_ended() => {}
                () = &mut look => return,
            }
        }
    }
}

/// Waits until no call has been in progress for a moment. Returns how many had begun by then.
async fn quiet(driver: &Driver) -> u64 {
    loop {
        let begun = driver.begun();
        let call = tokio::time::timeout(QUIET, driver.call_ended());
        if call.await.is_err() && driver.running() == 0 {
            return begun;
        }
    }
}

/// Logs what was done, and a failure if it is new; returns the failure.
fn tell(tended: Result<SpareReport>, told: Option<String>) -> Option<String> {
    let failure = match tended {
        Ok(SpareReport { made, removed, failed, .. }) => {
            if made + removed > 0 {
                tracing::info!(target: "calf::csi", made, removed, "tended the warm pool");
            }
            (!failed.is_empty()).then(|| failed.join("; "))
        }
        Err(error) => Some(error.report()),
    };
    if let Some(what) = failure.as_ref().filter(|what| told.as_ref() != Some(what)) {
        tracing::warn!(target: "calf::csi", what, "cannot tend the warm pool; will retry");
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csi::driver;

    #[tokio::test]
    async fn a_call_ends_the_making_of_spares_even_if_it_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let (driver, pool) = driver::tests::driver(&directory);
        let warmer = Warmer { pool, changed: Arc::default(), stop: Arc::default() };
        let cancel = warmer.until_next_call(&driver, quiet(&driver).await);
        assert!(!cancel.is_requested(), "the driver is idle");
        driver.call("Probe", "", |_| Ok(())).await.unwrap();
        assert_eq!(driver.running(), 0);
        assert!(cancel.is_requested(), "more calls may follow");

        let cancel = warmer.until_next_call(&driver, quiet(&driver).await);
        assert!(!cancel.is_requested(), "it is idle again");
        warmer.stop.store(true, Ordering::Release);
        assert!(cancel.is_requested(), "it stops");
    }
}
