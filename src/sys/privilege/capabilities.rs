//! The capabilities that the driver keeps.

use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::error::{Error, Result};

/// What the driver needs. `docs/security.md` has the reasons, `tests/kernel/privilege.rs` the proof.
const NEEDED: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SYS_RESOURCE);

/// Keeps the capabilities that the driver needs, as far as it has them, and gives up all others for
/// good: neither this thread, nor one that it starts from now on, nor a program that they run has
/// them again. To be called before other threads are started.
pub fn drop_capabilities() -> Result<()> {
    const OPERATION: &str = "give up capabilities of";
    let failed = |errno: rustix::io::Errno| Error::io(OPERATION, "this process", errno);
    let has = rustix::thread::capabilities(None).map_err(failed)?;
    // Without CAP_SETPCAP the bounding set stays, and no_new_privs keeps anyone from using it.
    if has.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().difference(NEEDED).iter() {
            // A kernel that does not know one says so, and cannot give it either.
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
