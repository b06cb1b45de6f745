//! Admission: which volumes could be created in a pool now.

use crate::api::Pool;
use crate::cow;
use crate::error::{ErrorKind, Result};
use crate::model::access::Access;
use crate::model::policy::{Backing, Reserve};
use crate::model::volume::VolumeSpec;
use crate::pool::record::TemplateRecord;
use crate::template::{catalog, content};

/// A kind of volume: restricted by template, by properties and by use, or not at all.
///
/// The default is every kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeKind {
    template: Option<String>,
    cow_limit: Option<u64>,
    chunk_size: Option<u64>,
    reserve: Reserve,
    access: Vec<Access>,
}

/// How large volumes of a kind may be in a pool now, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Admission {
    /// Space that they can write into, without the reserve and the private copy of content.
    pub available: u64,
    /// The largest size; free space does not limit it, unless the space is allocated at creation.
    pub largest: u64,
    /// The smallest size: the template's.
    pub smallest: Option<u64>,
}

impl VolumeKind {
    /// Volumes of this template.
    pub fn of(template: impl Into<String>) -> Self {
        Self { template: Some(template.into()), ..Self::default() }
    }

    /// Volumes that may write this many bytes.
    #[must_use]
    pub fn cow_limit(mut self, cow_limit: impl Into<Option<u64>>) -> Self {
        self.cow_limit = cow_limit.into();
        self
    }

    /// Volumes with this many bytes per chunk.
    #[must_use]
    pub fn chunk_size(mut self, chunk_size: impl Into<Option<u64>>) -> Self {
        self.chunk_size = chunk_size.into();
        self
    }

    /// Volumes with this reservation of space.
    #[must_use]
    pub fn reserve(mut self, reserve: Reserve) -> Self {
        self.reserve = reserve;
        self
    }

    /// Volumes that can be used in each of these ways.
    #[must_use]
    pub fn access(mut self, access: impl IntoIterator<Item = Access>) -> Self {
        self.access = access.into_iter().collect();
        self
    }

    fn fits(&self, template: &TemplateRecord) -> bool {
        let fs_type = template.fs_type.as_deref();
        self.access.iter().all(|access| access.check(fs_type, "the template").is_ok())
    }
}

impl Pool {
    /// How large volumes of this kind may be now. `None` if none can be created: the pool is full,
    /// the kernel lacks a feature, or the template's content does not allow the use.
    ///
    /// # Errors
    ///
    /// `NotFound` if the pool has no such template.
    pub fn admission(&self, kind: &VolumeKind) -> Result<Option<Admission>> {
        let backing = match self.backing() {
            Ok(backing) => backing,
            Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(None),
            Err(error) => return Err(error),
        };
        if self.0.is_guarded()? {
            return Ok(None);
        }
        let template = match &kind.template {
            Some(name) => Some(catalog::template(&self.0, "find", name)?),
            None => None,
        };
        if template.as_ref().is_some_and(|template| !kind.fits(template)) {
            return Ok(None);
        }
        // A private copy occupies the space of its template's content before anything is written to
        // it.
        let copied = match (&template, backing) {
            (Some(template), Backing::Copy) => content::allocated(&self.0, &template.digest)?,
            _ => 0,
        };
        let available = self.capacity()?.available.saturating_sub(copied);
        let reserved = kind.reserve == Reserve::Full;
        let bound = self.0.max_volume_size();
        let largest = match reserved && kind.cow_limit.is_none() {
            true => {
                let chunk_size = kind.chunk_size.unwrap_or(VolumeSpec::DEFAULT_CHUNK_SIZE);
                cow::largest_volume(available, chunk_size).min(bound)
            }
            // Free space is no limit: a volume occupies only the space of what is written to it.
            false => bound,
        };
        let smallest = template.map(|template| template.size);
        let fits = smallest.is_none_or(|smallest| smallest <= largest);
        let limit_fits = !reserved || kind.cow_limit.is_none_or(|limit| limit < available);
        let admitted = available > 0 && fits && limit_fits;
        Ok(admitted.then_some(Admission { available, largest, smallest }))
    }
}
