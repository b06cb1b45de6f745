//! Ctrl-C during a command that may take minutes.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use calf::{Cancel, Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Returns a condition that holds after the first SIGINT or SIGTERM from now on, so that the command ends
/// where the next one can go on. The second signal ends the process at once.
pub(super) fn cancel() -> Result<Cancel> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: at the first signal, the flag is not set yet.
        flag::register_conditional_default(signal, Arc::clone(&interrupted))
            .and_then(|_| flag::register(signal, Arc::clone(&interrupted)))
            .map_err(|e| Error::io("listen for", "signals", e))?;
    }
    Ok(interrupted.into())
}
