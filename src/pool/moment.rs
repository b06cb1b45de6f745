//! Moments that are written down: the time since one does not jump when somebody sets the clock.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::pool::record::Record;
use crate::sys::Host;

/// How far the clock may be from what a moment says before the moment is corrected.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(60);

/// A moment by two clocks: the one of a boot, which nobody sets, and the calendar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Moment {
    boot: String,
    uptime_ms: u64,
    at: Timestamp,
}

impl Record for Moment {
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

impl Moment {
    pub(crate) fn now(host: &dyn Host) -> Result<Self> {
        let uptime_ms = u64::try_from(host.uptime()?.as_millis()).unwrap_or(u64::MAX);
        Ok(Self { boot: host.boot_id()?, uptime_ms, at: Timestamp::now() })
    }

    /// The time from this moment to `now`: by the clock of the boot if it is the same, else by the
    /// calendar.
    pub(crate) fn until(&self, now: &Self) -> Duration {
        match self.boot == now.boot {
            true => Duration::from_millis(now.uptime_ms.saturating_sub(self.uptime_ms)),
            false => Duration::try_from(now.at.duration_since(self.at)).unwrap_or_default(),
        }
    }

    /// This moment with its calendar set right, if the clock was set since, in the same boot. Without
    /// that, the next boot would count from a date that never was.
    pub(crate) fn corrected(&self, now: &Self) -> Option<Self> {
        let elapsed = SignedDuration::try_from(self.until(now)).ok()?;
        let at = now.at.checked_sub(elapsed).ok()?;
        let is_off = at.duration_since(self.at).abs() > TOLERANCE;
        (self.boot == now.boot && is_off).then(|| Self { at, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(boot: &str, uptime_s: u64, at: i64) -> Moment {
        let at = Timestamp::from_second(at).expect("a time");
        Moment { boot: boot.to_owned(), uptime_ms: 1000 * uptime_s, at }
    }

    #[test]
    fn a_clock_that_is_set_does_not_make_time_pass() {
        let made = moment("b", 10, 1000);
        let now = moment("b", 20, 1_000_000_000);
        assert_eq!(made.until(&now), Duration::from_secs(10));
        let corrected = made.corrected(&now).expect("it was made just now");
        assert_eq!(corrected, moment("b", 10, 999_999_990));
        assert_eq!(corrected.until(&moment("c", 1, 1_000_000_090)), Duration::from_secs(100));
        assert_eq!(corrected.corrected(&now), None);
    }

    #[test]
    fn a_clock_behind_makes_nothing_older() {
        let made = moment("b", 10, 1_000_000_000);
        assert_eq!(made.until(&moment("c", 5, 0)), Duration::ZERO);
        assert_eq!(made.corrected(&moment("c", 5, 0)), None, "another boot knows no better");
    }
}
