//! What operators see of a driver: metrics, health and readiness, over HTTP.
//!
//! ```text
//! csi, template supervisor, events ──tell──▸ Metrics  (what happened since the start)  ─┐
//! pool, kernel ──asked at each scrape──▸ figures (what is there now; nothing is kept)  ─┼─▸ http
//!                                     Health  (starting, serving, stopping)            ─┘
//! ```
//!
//! Counters live in memory, as Prometheus expects of them. Everything that the pool and the kernel
//! know is read from there when it is asked for, so that a figure cannot drift from the truth. No
//! volume's lock is taken and no device is opened: a scrape never makes a CSI call wait.
//!
//! There are series per template, method and code, and none per volume: a node makes thousands of
//! short-lived volumes a day, and each would leave series behind. Which volume it is, `calf volume
//! list` and the conditions in CSI tell.

mod counters;
mod figures;
mod health;
mod http;

pub(crate) use counters::{ImportOutcome, Metrics};
pub(crate) use health::{Health, Phase};
pub(crate) use http::{Exporter, bind};

#[cfg(test)]
mod tests;
