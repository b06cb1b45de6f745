//! A process that is killed before one of the changes that it makes to the machine: the test's own program, run
//! again.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use calf::{Pool, PoolOptions};

use crate::killing_host::KillingHost;

/// In the environment of the victim: its name, the pool, and the change to die at, in lines.
const ORDER: &str = "CALF_TEST_VICTIM";

/// Does `work` on the pool and ends with success, if this process is the victim of that name.
pub fn be(name: &str, work: impl FnOnce(&Pool)) -> Option<ExitCode> {
    let order = std::env::var(ORDER).ok()?;
    let mut order = order.lines();
    if order.next() != Some(name) {
        return None;
    }
    let (pool, n) = (order.next().expect("a pool"), order.next().expect("a change"));
    let host = KillingHost::new(n.parse().expect("a number"));
    let pool = PoolOptions::default().host(Arc::new(host)).open(pool).expect("a pool");
    work(&pool);
    Some(ExitCode::SUCCESS)
}

/// Runs the victim of that name, to be killed before its `n`-th change. Returns whether it was, and did not end
/// before.
///
/// # Panics
///
/// If it ended in another way.
pub fn kill(name: &str, pool: &Pool, n: u64) -> bool {
    let mut victim = Command::new(std::env::current_exe().expect("this program"));
    victim.env(ORDER, format!("{name}\n{}\n{n}", pool.root().display()));
    let output = victim.output().expect("a process");
    let killed = output.status.signal() == Some(9);
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(killed || output.status.success(), "change {n}: {}", said());
    killed
}
