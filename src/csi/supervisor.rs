//! Tells the service manager that started the process, such as systemd, when the driver serves and when
//! it stops. Where none asked to be told (`NOTIFY_SOCKET`), nothing happens.

use std::slice;

use sd_notify::NotifyState;

/// Calls are answered from now on.
pub(super) fn serving() {
    tell(NotifyState::Ready);
}

/// The driver is on its way down.
pub(super) fn stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(slice::from_ref(&state)) {
        tracing::warn!(target: "calf::csi", %error, "cannot tell the service manager {state}");
    }
}
