//! The engine's public face: [`Pool`], the handles of volumes and templates, and the options. Each
//! method delegates to the module that does the work.

mod admission;
mod blocks;
mod device;
mod doctor;
mod exports;
#[cfg(feature = "driver")]
mod figures;
mod groups;
mod guard;
mod pool;
#[cfg(feature = "driver")]
mod provision;
mod snapshot;
mod template;
mod templates;
mod temporary;
mod volume;
mod volumes;

pub use admission::{Admission, VolumeKind};
pub use device::Device;
pub use doctor::{Check, Verdict};
#[cfg(feature = "driver")]
pub(crate) use figures::Survey;
pub use groups::GroupSnapshot;
pub use pool::{Pool, PoolOptions};
pub use snapshot::Snapshot;
pub use template::{Template, TemplateStatus};
pub use temporary::TemporaryVolume;
pub use volume::{Forked, Volume};
