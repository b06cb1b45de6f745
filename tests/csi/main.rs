//! The driver over a real unix socket, with the engine on a simulated machine.

mod admission;
mod clones;
mod groups;
mod growth;
mod health;
mod housekeeping;
mod inline;
mod kata;
mod lists;
mod races;
mod registration;
mod reports;
mod snapshot_metadata;
mod snapshots;
mod snapshots_killed;
mod socket;
mod staging;
mod templates;
mod validation;
mod volumes;
