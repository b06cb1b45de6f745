//! Notifies the service manager that started the process, such as systemd, when the driver is ready
//! and when it stops. Without `NOTIFY_SOCKET`, does nothing.

use std::slice;

use sd_notify::NotifyState;

/// Reports that the driver answers calls from now on.
pub(super) fn serving() {
    tell(NotifyState::Ready);
}

/// Reports that the driver is stopping.
pub(super) fn stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(slice::from_ref(&state)) {
        tracing::warn!(target: "calf::csi", %error, "cannot notify the service manager of {state}");
    }
}
