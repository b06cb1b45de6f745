//! A condition that ends a long call early.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ends a long call early: an import, the growth of a file system, a reconciliation, or the making of
/// spares. The call checks the condition between two pieces of its work. The same call again goes on from
/// there.
///
/// Cheap to clone. The default never ends a call.
#[derive(Clone, Default)]
pub struct Cancel(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Cancel {
    /// Returns a condition that never holds.
    pub fn never() -> Self {
        Self::default()
    }

    /// Ends the call once `condition` returns true. It is called often, and must be quick.
    pub fn when(condition: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(condition)))
    }

    /// Whether the call should end now.
    pub fn is_requested(&self) -> bool {
        self.0.as_ref().is_some_and(|condition| condition())
    }
}

impl From<Arc<AtomicBool>> for Cancel {
    /// Ends the call once the flag is set.
    fn from(flag: Arc<AtomicBool>) -> Self {
        Self::when(move || flag.load(Ordering::Acquire))
    }
}

/// Two values are equal if they share the same condition.
impl PartialEq for Cancel {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Cancel {}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Cancel::when(..)" } else { "Cancel::never()" })
    }
}
