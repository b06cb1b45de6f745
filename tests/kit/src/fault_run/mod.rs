//! The fault runs: calf is broken in every way that its makers could think of, and what it
//! promises is counted afterwards. docs/reliability.md says what is promised, and has the tables.
//!
//! Each room is one fault. A room runs at two scales: short, in `make test`, and full, in
//! `make torture`. It counts into a [`Tally`], which prints one line of the table and fails the
//! test unless all is as promised.

// Each test target compiles its own copy and uses a part of it.
#![allow(dead_code)]

pub(crate) mod bystander;
pub(crate) mod concurrency;
pub(crate) mod crash;
pub(crate) mod disk;
pub(crate) mod disks;
pub(crate) mod full;
pub(crate) mod holders;
pub(crate) mod importer;
pub(crate) mod inventory;
pub(crate) mod isolation;
pub(crate) mod log_writes;
pub(crate) mod longlife;
pub(crate) mod power;
pub(crate) mod scale;
pub(crate) mod subject;
pub(crate) mod tally;
pub(crate) mod udev;

pub(crate) use inventory::Inventory;
pub(crate) use scale::{count, seed};
pub(crate) use tally::Tally;
