//! Metrics, health and readiness of a driver, over HTTP, for operators.
//!
//! ```text
//! csi, template supervisor, events ───▸ Metrics  (events since the start)      ─┐
//! pool, kernel ──read at each scrape──▸ figures (the current state; not kept)  ─┼─▸ http
//! pool ──looked at by each probe──────▸ Health  (starting, serving, stopping)  ─┘
//! ```
//!
//! Counters live in memory, as Prometheus expects. Everything that the pool and the kernel know is
//! read at each scrape, so that a figure cannot drift from the truth. A scrape takes no volume's
//! lock and opens no device, so it never makes a CSI call wait.
//!
//! There are series per template, method and code, and none per volume: a node makes thousands of
//! short-lived volumes a day, and each would leave series behind. `calf volume list` and the
//! conditions in CSI show individual volumes.

mod connections;
mod counters;
mod figures;
mod health;
mod http;
mod sites;

pub(crate) use counters::{Cutting, ImportOutcome, Metrics};
pub(crate) use health::{Health, Phase};
pub(crate) use http::{bind, serve};
pub(crate) use sites::{Exporter, Probes};

#[cfg(test)]
mod tests;
