//! A volume in the output for programs and people.

use calf::sys::{DeviceNumber, FileSystemUsage};
use calf::units::format_size;
use calf::{Backing, Durability, Pool, Reserve, Result, VolumeSource, VolumeStatus};
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::output::{age, moment};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct View<'a> {
    id: &'a str,
    state: &'static str,
    /// Path of the block device while active.
    device: Option<String>,
    template: &'a str,
    /// What it started from, other than its template; null for none.
    source: Option<&'a VolumeSource>,
    digest: String,
    size: u64,
    template_size: u64,
    fs_type: Option<&'a str>,
    cow_limit: Option<u64>,
    chunk_size: u64,
    durability: Durability,
    backing: Backing,
    inline: bool,
    reserve: Reserve,
    /// When reconciliation may delete it.
    expires: Option<Timestamp>,
    owner: OwnerView,
    /// Bytes that it occupies in the pool.
    allocated: u64,
    cow: Option<CowView>,
    created: Timestamp,
    /// Usage of the file system, if the caller named its mount point.
    #[serde(skip_serializing_if = "Option::is_none")]
    file_system: Option<FileSystemView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OwnerView {
    uid: u32,
    gid: u32,
    /// In octal.
    mode: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CowView {
    used: u64,
    total: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileSystemView {
    total: u64,
    used: u64,
    available: u64,
    inodes: u64,
    inodes_used: u64,
}

impl<'a> View<'a> {
    pub(super) fn new(pool: &Pool, volume: &'a VolumeStatus) -> Self {
        let record = &volume.record;
        Self {
            id: &record.id,
            state: volume.state.as_str(),
            // A device that went down in the meantime no longer has a node.
            device: volume.device.and_then(|number| device_path(pool, number).ok()),
            template: &record.template,
            source: record.source.as_ref(),
            digest: record.digest.qualified(),
            size: record.size,
            template_size: record.template_size,
            fs_type: record.fs_type.as_deref(),
            cow_limit: record.cow_limit,
            chunk_size: record.chunk_size,
            durability: record.durability,
            backing: record.backing,
            inline: record.inline,
            reserve: record.reserve,
            expires: record.expires(),
            owner: OwnerView {
                uid: record.owner.uid,
                gid: record.owner.gid,
                mode: format!("{:04o}", record.owner.mode),
            },
            allocated: volume.allocated,
            cow: volume.cow.map(|(used, total)| CowView { used, total }),
            created: record.created,
            file_system: None,
        }
    }

    /// Adds the usage of its mounted file system.
    pub(super) fn with_file_system(self, usage: Option<FileSystemUsage>) -> Self {
        let file_system = usage.map(|usage| FileSystemView {
            total: usage.total,
            used: usage.used,
            available: usage.available,
            inodes: usage.inodes,
            inodes_used: usage.inodes_used,
        });
        Self { file_system, ..self }
    }

    /// One line of a list.
    pub(super) fn row(&self, now: Timestamp) -> [String; 7] {
        [
            self.id.to_owned(),
            self.state.to_owned(),
            self.device.clone().unwrap_or_else(|| "-".into()),
            self.template.to_owned(),
            format_size(self.size),
            format_size(self.allocated),
            age(self.created, now),
        ]
    }

    /// All fields.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        let durability = match self.durability {
            Durability::Ephemeral => "ephemeral",
            Durability::Durable => "durable",
        };
        let cow = match &self.cow {
            Some(cow) => format!("{} of {}", format_size(cow.used), format_size(cow.total)),
            None => "-".into(),
        };
        let mut fields = vec![
            ("Id", self.id.to_owned()),
            ("State", self.state.to_owned()),
            ("Device", self.device.clone().unwrap_or_else(|| "-".into())),
            ("Size", format!("{} ({} bytes)", format_size(self.size), self.size)),
            ("Template", format!("{} ({})", self.template, self.digest)),
            ("Started from", start(self.source)),
            ("File system", self.fs_type.unwrap_or("-").to_owned()),
            ("Backing", backing_name(self.backing).to_owned()),
            ("Durability", durability.to_owned()),
            ("COW limit", self.cow_limit.map_or_else(|| "-".into(), format_size)),
            ("COW used", cow),
            ("Chunk size", format_size(self.chunk_size)),
            ("Allocated", format_size(self.allocated)),
            ("Reserved", if self.reserve == Reserve::Full { "all" } else { "nothing" }.to_owned()),
            ("Owner", format!("{}:{} {}", self.owner.uid, self.owner.gid, self.owner.mode)),
            ("Inline", if self.inline { "yes" } else { "no" }.to_owned()),
            ("Created", moment(self.created)),
            ("Expires", self.expires.map_or_else(|| "never".into(), moment)),
        ];
        if let Some(usage) = &self.file_system {
            let (used, total) = (format_size(usage.used), format_size(usage.total));
            fields.push(("Files", format!("{used} of {total}, {} inodes used", usage.inodes_used)));
        }
        fields
    }
}

/// What a volume started from.
pub(super) fn start(source: Option<&VolumeSource>) -> String {
    match source {
        None => "its template".to_owned(),
        Some(VolumeSource::Snapshot(name)) => format!("snapshot {name}"),
        Some(VolumeSource::Volume(id)) => format!("volume {id}"),
    }
}

fn backing_name(backing: Backing) -> &'static str {
    match backing {
        Backing::Snapshot => "dm-snapshot",
        Backing::Reflink => "reflink copy (fallback)",
        Backing::Copy => "full copy (fallback)",
    }
}

/// Path of the device node that the kernel makes.
pub(in crate::cli) fn device_path(pool: &Pool, number: DeviceNumber) -> Result<String> {
    Ok(pool.device(number)?.path().display().to_string())
}
