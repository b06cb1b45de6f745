//! The network of a run: a namespace of its own, with the link to the node.
//!
//! ```text
//!  control plane ── 10.88.0.1 calf0 (tap) ════ vec0 10.88.0.2 ── node ── cni0 10.89.0.0/24 ── pods
//!                   10.96.0.1 lo
//! ```
//!
//! There is no kube-proxy: pods call only the service of kube-apiserver, whose address is one of
//! the machine's. Pods are routed, without address translation. Everything vanishes with the last
//! process in the namespace.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::Result;

pub(crate) const TAP: &str = "calf0";
/// The machine's end of the link.
pub(crate) const MACHINE: &str = "10.88.0.1";
pub(crate) const NODE: &str = "10.88.0.2";
/// The first address of the services' range, which kube-apiserver takes for itself.
pub(crate) const KUBERNETES_SERVICE: &str = "10.96.0.1";
/// As in `node/pods.conflist`.
const PODS: &str = "10.89.0.0/24";

/// Set in the process inside the namespace.
const INSIDE: &str = "CALF_E2E_NAMESPACE";

/// Puts this process into a network namespace of its own, by restarting the program in one. Returns
/// in the restarted program.
pub(crate) fn enter() -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    let failed = |error| format!("cannot start this program in a network namespace: {error}");
    let program = std::env::current_exe().map_err(failed)?;
    let mut unshare = Command::new("unshare");
    unshare.arg("--net").arg("--").arg(program).args(std::env::args_os().skip(1)).env(INSIDE, "1");
    // Returns only on failure.
    Err(failed(unshare.exec()))
}

/// Makes the link, inside the namespace.
pub(crate) fn set_up() -> Result<()> {
    let machine = format!("{MACHINE}/24");
    let service = format!("{KUBERNETES_SERVICE}/32");
    for arguments in [
        &["link", "set", "lo", "up"][..],
        &["address", "add", &service, "dev", "lo"],
        &["tuntap", "add", "dev", TAP, "mode", "tap"],
        &["address", "add", &machine, "dev", TAP],
        &["link", "set", TAP, "up"],
        &["route", "add", PODS, "via", NODE],
    ] {
        ip(arguments)?;
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|error| format!("cannot start ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {}: {}", arguments.join(" "), said.trim()))
}
