//! The overlay: how a volume in use is kept still for a snapshot where files cannot share blocks.
//!
//! ```text
//!    before, after           while the store is copied      while the overlay is merged
//!
//!   volume                   volume                         volume
//!    ├─ template              ├─ base                        ├─ base  ◂──┐
//!    └─ store                 │   ├─ template                │   ├─ template
//!                             │   └─ store (nobody writes)   │   └─ store
//!                             └─ overlay                     └─ overlay ─┘ (snapshot-merge)
//! ```
//!
//! The exceptions of the running device go over to the base, a device of its own, in constant time: the kernel hands
//! them over from one table to another with the same origin and store. So writers wait only for the exchange of
//! tables. When the copy is there, the kernel merges what was written meanwhile, and the volume takes its exceptions
//! back (ADR 0098).
//!
//! What exists tells how far it came. The overlay's file is made first and removed last. Whoever takes the volume's
//! lock lets the volume go on ([`settle`]), which takes milliseconds and neither copies nor merges. An overlay of a
//! process that died is merged by reconciliation, and before anything that needs the volume's own store ([`end`]). A
//! volume without a device may have an overlay, for instance after a reboot; the next activation merges it
//! ([`restore`]).

mod cut;
mod layers;
mod merge;
mod restore;
mod settle;
mod stage;

pub(crate) use cut::{Subject, cut};
pub(crate) use merge::{end, finish, stopped};
pub(crate) use restore::restore;
pub(crate) use settle::settle;
