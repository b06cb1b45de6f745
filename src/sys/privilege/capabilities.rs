//! The capabilities that the driver keeps.

use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::error::{Error, Result};

/// The capabilities that the driver needs. `docs/security.md` gives the reasons, and
/// `tests/kernel/privilege.rs` tests them.
const NEEDED: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SYS_RESOURCE);

/// Keeps the capabilities that the driver needs, as far as it has them, and drops all others
/// permanently: neither this thread, nor threads that it starts from now on, nor programs that they
/// run can get them again. Call this before starting other threads.
pub fn drop_capabilities() -> Result<()> {
    const OPERATION: &str = "drop capabilities of";
    let failed = |errno: rustix::io::Errno| Error::io(OPERATION, "this process", errno);
    let has = rustix::thread::capabilities(None).map_err(failed)?;
    // Without CAP_SETPCAP the bounding set stays, and no_new_privs prevents its use.
    if has.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().difference(NEEDED).iter() {
            // A kernel that does not know a capability returns an error, and cannot grant it
            // either.
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
    }
    rustix::thread::set_no_new_privs(true).map_err(failed)?;
    let kept = has.permitted.intersection(NEEDED);
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() },
    )
    .map_err(failed)
}
