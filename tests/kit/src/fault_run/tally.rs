//! The counts of a fault run: one line of the table.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The prefix of a line of the table in a test's output; tests/torture.sh collects these lines.
const MARK: &str = "TORTURE";

/// Stop after this many violations.
const ENOUGH: usize = 20;

/// The count of one fault.
///
/// * *tries*: how often the fault was injected;
/// * *found*: how many promises were found broken: a wrong code, a hang, a holder that was not named;
/// * *lost*: bytes or volumes that should exist and were missing or different;
/// * *leaked*: devices, loop devices, mounts, files or memory that nothing uses and nothing frees.
pub struct Tally {
    fault: String,
    seed: u64,
    begin: Instant,
    tries: AtomicU64,
    violations: Mutex<Violations>,
}

#[derive(Default)]
struct Violations {
    found: Vec<String>,
    lost: Vec<String>,
    leaked: Vec<String>,
}

impl Tally {
    pub fn new(fault: &str, seed: u64) -> Self {
        println!("{fault}: seed {seed}");
        let (tries, violations) = (AtomicU64::new(0), Mutex::default());
        Self { fault: fault.to_owned(), seed, begin: Instant::now(), tries, violations }
    }

    /// Continues after a reboot with the counts from before it.
    pub fn resume(fault: &str, seed: u64, tries: u64) -> Self {
        let tally = Self::new(fault, seed);
        tally.tries.store(tries, Ordering::Relaxed);
        tally
    }

    pub fn tried(&self) {
        self.tries.fetch_add(1, Ordering::Relaxed);
    }

    pub fn tries(&self) -> u64 {
        self.tries.load(Ordering::Relaxed)
    }

    /// Counts a broken promise.
    pub fn found(&self, what: impl Into<String>) {
        self.note("found", what.into(), |all| &mut all.found);
    }

    /// Counts a loss.
    pub fn lost(&self, what: impl Into<String>) {
        self.note("lost", what.into(), |all| &mut all.lost);
    }

    /// Counts a leak.
    pub fn leaked(&self, what: impl Into<String>) {
        self.note("leaked", what.into(), |all| &mut all.leaked);
    }

    /// Counts `what` as a broken promise unless `kept`.
    pub fn promise(&self, kept: bool, what: impl FnOnce() -> String) {
        if !kept {
            self.found(what());
        }
    }

    /// The value, or `None` with the error counted as a broken promise.
    pub fn expect<T, E: std::fmt::Debug>(
        &self,
        result: Result<T, E>,
        what: impl FnOnce() -> String,
    ) -> Option<T> {
        result.map_err(|error| self.found(format!("{}: {error:?}", what()))).ok()
    }

    /// Whether so much is broken that continuing would show nothing new.
    pub fn hopeless(&self) -> bool {
        let all = self.lock();
        all.found.len() + all.lost.len() + all.leaked.len() >= ENOUGH
    }

    /// Drops the tally before a reboot that continues the count; fails if a promise was broken.
    pub fn stop_here(self) {
        let all = self.violations.into_inner().unwrap_or_else(PoisonError::into_inner);
        let broken = [all.found, all.lost, all.leaked].concat();
        assert!(broken.is_empty(), "{} (seed {}): {broken:#?}", self.fault, self.seed);
    }

    /// Prints the line of the table, and fails the test if a promise was broken.
    pub fn finish(self) {
        let all = self.violations.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (tries, seconds) = (self.tries.into_inner(), self.begin.elapsed().as_secs());
        println!(
            "{MARK}\t{}\t{tries}\t{}\t{}\t{}\tseed {}, {seconds} s",
            self.fault,
            all.found.len(),
            all.lost.len(),
            all.leaked.len(),
            self.seed,
        );
        let broken = [all.found, all.lost, all.leaked].concat();
        assert!(tries > 0, "{}: nothing was tried", self.fault);
        assert!(broken.is_empty(), "{} (seed {}): {broken:#?}", self.fault, self.seed);
    }

    fn note(&self, kind: &str, what: String, list: fn(&mut Violations) -> &mut Vec<String>) {
        println!("{}: {kind} after {} tries: {what}", self.fault, self.tries());
        list(&mut self.lock()).push(format!("{kind}: {what}"));
    }

    fn lock(&self) -> MutexGuard<'_, Violations> {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
