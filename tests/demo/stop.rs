//! Handles ^C, SIGTERM and SIGHUP: they end every wait, and the demonstration takes down what it
//! made.

use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};

use crate::Result;

pub(crate) const EXIT_CODE: u8 = 130;

static STOPPED: AtomicBool = AtomicBool::new(false);
static CLEANING_UP: AtomicBool = AtomicBool::new(false);

type LastAct = Box<dyn FnOnce() + Send>;
static LAST_ACT: Mutex<Option<LastAct>> = Mutex::new(None);

/// Starts to listen for the signals.
pub(crate) fn watch() -> Result<()> {
    let failed = |error: std::io::Error| format!("cannot listen for signals: {error}");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    for kind in kinds {
        let mut signals = {
            let _inside = runtime.enter();
            signal(kind).map_err(failed)?
        };
        runtime.spawn(async move {
            while signals.recv().await.is_some() {
                act();
            }
        });
    }
    thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    Ok(())
}

fn act() {
    STOPPED.store(true, Ordering::Relaxed);
    if let Some(last_act) = LAST_ACT.lock().unwrap_or_else(PoisonError::into_inner).take() {
        last_act();
        exit(EXIT_CODE.into());
    }
}

/// Sets what to do on a signal during a wait that cannot call [`check`]: run `act`, then exit.
pub(crate) fn end_with(act: impl FnOnce() + Send + 'static) {
    *LAST_ACT.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(act));
}

/// Whether a signal has arrived.
pub(crate) fn is_stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

/// Fails once a signal has arrived; called in every wait.
pub(crate) fn check() -> Result<()> {
    if is_stopped() && !CLEANING_UP.load(Ordering::Relaxed) {
        return Err("interrupted".into());
    }
    Ok(())
}

/// Starts the cleanup: from now on, signals do not end waits.
pub(crate) fn clean_up() {
    CLEANING_UP.store(true, Ordering::Relaxed);
}
