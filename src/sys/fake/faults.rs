//! Chooses the call that fails, and how it fails.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorKind, Result};

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It does nothing and returns an error.
    ErrorBefore,
    /// It does its work, then returns an error.
    ErrorAfter,
    /// The process dies before the call.
    CrashBefore,
    /// The process dies after the call.
    CrashAfter,
}

/// The payload of a simulated crash's panic, by which a test distinguishes it from a real panic.
#[derive(Debug)]
pub struct Crash;

/// Crashes without the message and the backtrace that a real panic prints.
fn crash() -> ! {
    std::panic::resume_unwind(Box::new(Crash))
}

/// What happens between two calls.
type Interruption = Box<dyn FnOnce() + Send>;

/// Counts calls, and makes one of them fail. Clones share the count.
#[derive(Clone, Default)]
pub(super) struct Faults(Arc<Mutex<Plan>>);

#[derive(Default)]
struct Plan {
    calls: u64,
    fail: Option<(u64, Failure)>,
    interrupt: Option<(u64, Interruption)>,
}

impl Faults {
    /// Makes the `n`-th call from now fail (the first is 1).
    pub(super) fn fail_at(&self, n: u64, failure: Failure) {
        *self.plan() = Plan { fail: Some((n, failure)), ..Plan::default() };
    }

    /// Runs `interruption` before the `n`-th call from now (the first is 1).
    pub(super) fn interrupt_at(&self, n: u64, interruption: Interruption) {
        *self.plan() = Plan { interrupt: Some((n, interruption)), ..Plan::default() };
    }

    /// Makes every call succeed again. Returns whether the failing call was reached.
    pub(super) fn heal(&self) -> bool {
        let mut plan = self.plan();
        plan.fail.take().is_some_and(|(n, _)| plan.calls >= n)
    }

    /// The number of calls since [`fail_at`](Self::fail_at), or since the start.
    pub(super) fn calls(&self) -> u64 {
        self.plan().calls
    }

    /// Runs one call, or makes it fail.
    pub(super) fn run<T>(
        &self,
        name: &'static str,
        action: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let injected =
            || Error::new(ErrorKind::Internal, "run", name, "the test made this call fail");
        let (failure, interruption) = self.count();
        if let Some(interruption) = interruption {
            interruption();
        }
        match failure {
            None => action(),
            Some(Failure::ErrorBefore) => Err(injected()),
            Some(Failure::ErrorAfter) => action().and(Err(injected())),
            Some(Failure::CrashBefore) => crash(),
            Some(Failure::CrashAfter) => {
                drop(action());
                crash()
            }
        }
    }

    /// Counts a call, and returns how it must fail, and what happens before it.
    fn count(&self) -> (Option<Failure>, Option<Interruption>) {
        let mut plan = self.plan();
        plan.calls += 1;
        let calls = plan.calls;
        let failure = plan.fail.filter(|(n, _)| *n == calls).map(|(_, failure)| failure);
        let interruption = plan.interrupt.take_if(|(n, _)| *n == calls);
        (failure, interruption.map(|(_, interruption)| interruption))
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
