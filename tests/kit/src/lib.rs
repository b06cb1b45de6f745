//! Shared code of calf's tests.
//!
//! | module | what it is | used by |
//! | --- | --- | --- |
//! | [`kernel`] | boots a Linux kernel, and runs tests in it | `tests/kernel`, `tests/bench`, `tests/demo`, `tests/e2e` |
//! | [`real_pool`] | a pool on a real disk of that kernel, and bytes that are random but known | `tests/kernel`, `tests/bench` |
//! | [`mapped_disk`] | a file system on a disk that fails or delays on demand | `tests/kernel`, `tests/bench` |
//! | [`driver_process`] | `calf serve` in a process of its own, and a client on its socket | `tests/kernel`, `tests/bench` |
//! | [`csi_sanity`] | the conformance suite of CSI, on such a driver | `tests/kernel` |
//! | [`killing_host`] | a `Host` that kills its process at the n-th change | `tests/kernel` |
//! | [`fault_run`] | counting in fault runs, and checking for leftovers | `tests/kernel` |
//! | [`simulated_pool`] | a pool on a simulated machine | `tests/engine`, `tests/csi` |
//! | [`simulated_driver`] | a driver on such a pool, in the test's own process, and a client | `tests/csi` |
//! | [`command_line`] | the binary in a pool of its own, run as from a shell | `tests/cli` |
//! | [`service_manager`] | a service manager that a driver notifies | `tests/csi`, `tests/kernel` |
//! | [`http2`] | a call with an authority that no client in Rust would send | `tests/csi`, `tests/kernel` |
//! | [`http_server`] | a web server that gives the answers that a test wants | `tests/engine`, `tests/csi`, `tests/cli` |
//! | [`programs`] | programs that make and check images | `tests/engine`, `tests/registry` |
//! | [`built`] | paths of the programs that tests run | all of them |

#![allow(missing_docs, reason = "only tests see it, and most names say all")]
#![allow(clippy::new_without_default, reason = "nobody would call it")]

pub mod built;
pub mod command_line;
#[cfg(feature = "driver")]
pub mod csi_sanity;
#[cfg(feature = "driver")]
pub mod driver_process;
pub mod fault_run;
pub mod http2;
pub mod http_server;
pub mod kernel;
pub mod killing_host;
pub mod mapped_disk;
pub mod programs;
pub mod real_pool;
pub mod service_manager;
#[cfg(feature = "driver")]
pub mod simulated_driver;
pub mod simulated_pool;
pub mod victim;
