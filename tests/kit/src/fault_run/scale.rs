//! The scale of a run, and its seed.

use std::time::{SystemTime, UNIX_EPOCH};

/// `short` (the default), `full`, or a number: a percentage of a full run.
const SCALE: &str = "CALF_TORTURE";

/// Repeats a run: all choices are derived from this number.
const SEED: &str = "CALF_TORTURE_SEED";

/// How often to try at the chosen scale; never less than in the short run.
pub fn count(short: u64, full: u64) -> u64 {
    match std::env::var(SCALE).as_deref() {
        Ok("full") => full,
        Ok("short" | "") | Err(_) => short,
        Ok(percent) => match percent.parse::<u64>() {
            Ok(percent) => short.max(full * percent / 100),
            Err(_) => panic!("{SCALE}={percent} is unknown: use short, full or a percentage"),
        },
    }
}

/// The seed of this run, never 0: the requested seed, or a new one.
pub fn seed() -> u64 {
    let seed = match std::env::var(SEED) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{SEED}={text}: {error}")),
        Err(_) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            // The lower half changes from run to run, and is short enough to type.
            u64::from(now.as_nanos() as u32)
        }
    };
    seed.max(1)
}
