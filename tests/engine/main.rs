//! The engine on a simulated machine: no privileges, no kernel of its own.

mod blocks;
mod commitment;
mod commits;
#[cfg(all(feature = "formats", feature = "http"))]
mod compressed;
mod damage;
#[cfg(all(feature = "formats", feature = "http"))]
mod disk_images;
mod doctor;
#[cfg(feature = "http")]
mod downloads;
#[cfg(feature = "formats")]
mod empty;
mod examples;
mod exports;
mod faults;
mod faults_templates;
mod forks;
mod groups;
mod growth;
mod guard;
mod handles;
mod housekeeping;
mod images;
#[cfg(feature = "formats")]
mod oci;
#[cfg(all(feature = "formats", feature = "http"))]
mod overlays;
#[cfg(all(feature = "formats", feature = "http"))]
mod partitions;
mod places;
mod pool_formats;
mod recovery;
#[cfg(all(feature = "formats", feature = "http"))]
mod registry;
mod rollbacks;
#[cfg(feature = "formats")]
mod rootfs;
mod snapshot_devices;
mod snapshots;
mod snapshots_faults;
mod space;
mod spares;
mod staging;
mod stuck;
mod volumes;
