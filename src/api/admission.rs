//! Admission: which volumes could be created in a pool now.

use crate::api::Pool;
use crate::error::{ErrorKind, Result};
use crate::model::access::Access;
use crate::model::policy::{Backing, Reserve};
use crate::model::volume::VolumeSpec;
use crate::pool::PoolDir;
use crate::pool::record::TemplateRecord;
use crate::template::{catalog, content};
use crate::volume::mountable::{self, Content};
use crate::volume::room::Room;
use crate::volume::{growth, provision};

/// A kind of volume: restricted by template, by properties and by use, or not at all.
///
/// The default is every kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeKind {
    template: Option<String>,
    cow_limit: Option<u64>,
    chunk_size: u64,
    reserve: Reserve,
    kata_direct: bool,
    access: Vec<Access>,
    grown: bool,
}

/// How large volumes of a kind may be in a pool now, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Admission {
    /// Space that they can write into, without the reserve and the private copy of content. With an
    /// [overcommit ratio](crate::PoolOptions::overcommit_ratio), what the ratio leaves for new volumes,
    /// which may be more than is free.
    pub available: u64,
    /// The largest size. Free space does not limit it, unless the space is allocated at creation, or an
    /// overcommit ratio, a bound of kernel memory, or the growth of a file system does.
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
    pub fn chunk_size(mut self, chunk_size: u64) -> Self {
        self.chunk_size = chunk_size;
        self
    }

    /// Volumes with this reservation of space.
    #[must_use]
    pub fn reserve(mut self, reserve: Reserve) -> Self {
        self.reserve = reserve;
        self
    }

    /// Volumes whose file system a Kata guest mounts instead of the host.
    #[must_use]
    pub fn kata_direct(mut self, kata_direct: bool) -> Self {
        self.kata_direct = kata_direct;
        self
    }

    /// Volumes that can be used in each of these ways.
    #[must_use]
    pub fn access(mut self, access: impl IntoIterator<Item = Access>) -> Self {
        self.access = access.into_iter().collect();
        self
    }

    /// Volumes whose file system the host mounts for writing, and grows to the volume's size.
    #[must_use]
    pub fn grown(mut self, grown: bool) -> Self {
        self.grown = grown;
        self
    }

    /// Returns how such a volume is specified, if it has a template.
    fn spec(&self) -> Option<VolumeSpec> {
        let spec = VolumeSpec::new("new", self.template.as_ref()?)
            .cow_limit(self.cow_limit)
            .chunk_size(self.chunk_size)
            .reserve(self.reserve);
        Some(spec)
    }

    /// Whether volumes of the template can be used in each way.
    fn fits(
        &self,
        pool: &PoolDir,
        template: &TemplateRecord,
        content: &Content<'_>,
    ) -> Result<bool> {
        for access in &self.access {
            match mountable::check_access(pool, content, access, self.kata_direct, &template.name) {
                Ok(()) => {}
                Err(error) => match error.kind() {
                    ErrorKind::InvalidArgument | ErrorKind::Unsupported => return Ok(false),
                    _ => return Err(error),
                },
            }
        }
        Ok(true)
    }
}

impl Default for VolumeKind {
    fn default() -> Self {
        Self {
            template: None,
            cow_limit: None,
            chunk_size: VolumeSpec::DEFAULT_CHUNK_SIZE,
            reserve: Reserve::default(),
            kata_direct: false,
            access: Vec::new(),
            grown: false,
        }
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
        let content = template.as_ref().map(Content::of_template);
        if let (Some(template), Some(content)) = (&template, &content)
            && !kind.fits(&self.0, template, content)?
        {
            return Ok(None);
        }
        // A private copy occupies the space of its template's content before anything is written to
        // it.
        let copied = match (&template, backing) {
            (Some(template), Backing::Copy) => content::allocated(&self.0, &template.digest)?,
            _ => 0,
        };
        let room = Room::find(&self.0, copied)?;
        let reserved = kind.reserve == Reserve::Full;
        let mut largest = room
            .largest(backing, reserved, kind.cow_limit, kind.chunk_size)
            .min(self.0.max_volume_size());
        let smallest = template.as_ref().map(|template| template.size);
        if kind.grown
            && let (Some(spec), Some(template), Some(content)) = (kind.spec(), &template, &content)
        {
            let boot = self.0.host().boot_id()?;
            let record = match provision::record(&spec, template, backing, boot) {
                Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(None),
                record => record?,
            };
            largest = growth::largest_new(&self.0, &record, content, largest)?;
        }
        let fits = smallest.is_none_or(|smallest| smallest <= largest);
        let available = room.later.unwrap_or(room.free);
        Ok((room.is_left() && fits).then_some(Admission { available, largest, smallest }))
    }
}
