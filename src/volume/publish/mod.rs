//! Publish: where a volume appears, and how it goes from there.
//!
//! ```text
//! block:  device node in the pool ──bind──▸ target file
//! mount:  device ──mount──▸ staging directory ──bind──▸ target directory
//! inline: device ──mount──▸ target directory
//! Kata:   device ──named in a file that Kata reads for the target, which an empty mount seals
//! ```
//!
//! Nothing of this is written down: the mount table is the truth. A reboot empties it and leaves
//! plain directories and files behind, so each call looks at what is at its path first, and
//! publishing stages again where the staging is gone.

pub(crate) mod file_system;
pub(crate) mod kata;
pub(crate) mod mount_point;
pub(crate) mod stage;

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::model::access::Access;
use crate::model::device_id::Role;
use crate::model::policy::Durability;
use crate::model::publication::{Publish, Stage};
use crate::model::volume::VolumeSpec;
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::pool::record::VolumeRecord;
use crate::sys::{BindSpec, Target, TargetKind};
use crate::volume::activate::Found;
use crate::volume::kata::is_direct;
use crate::volume::lifecycle::Provisioned;
use crate::volume::machine::observe;
use crate::volume::publish::mount_point::{
    Parents, check_path, refuse_other_use, show, unmount_all,
};
use crate::volume::publish::stage::{check_access, ensure_staged};
use crate::volume::usage::mounts_of;
use crate::volume::{lifecycle, lock, provision};

/// Shows the volume at a target path, staging it first where a reboot undid that.
pub(crate) fn publish(pool: &PoolDir, id: &str, publish: &Publish) -> Result<()> {
    let guard = lock::take(pool, id, "publish volume")?;
    let volume = Found::look(pool, &guard, id)?;
    check_path(pool, &publish.target)?;
    check_access(&volume.record, &publish.stage.access)?;
    if publish.exclusive {
        refuse_if_published_elsewhere(&volume, publish)?;
    }
    show_as_asked(&volume, publish, publish_directory)
}

/// Shows the volume to Kata, as a node, or as a file system by `mount`.
fn show_as_asked(
    volume: &Found<'_>,
    publish: &Publish,
    mount: impl FnOnce(&Found<'_>, &Publish) -> Result<()>,
) -> Result<()> {
    match &publish.stage.access {
        access if is_direct(&volume.record, access) => kata::publish(volume, publish),
        Access::Block => publish_node(volume, publish),
        Access::Mount { .. } => mount(volume, publish),
    }
}

/// Mounts the file system of an inline volume at its target.
fn mount_inline(volume: &Found<'_>, publish: &Publish) -> Result<()> {
    let stage = Stage {
        path: publish.target.clone(),
        access: publish.stage.access.clone(),
        read_only: publish.is_read_only(),
        cancel: publish.stage.cancel.clone(),
    };
    ensure_staged(volume, &stage, Parents::Expect).map(drop)
}

/// Makes an ephemeral volume and publishes it in one call; undone by
/// `unpublish`. `publish.stage.path` is unused.
pub(crate) fn publish_inline(pool: &PoolDir, spec: &VolumeSpec, publish: &Publish) -> Result<()> {
    provision::check(spec)?;
    check_path(pool, &publish.target)?;
    let guard = lock::take(pool, &spec.id, "publish inline volume")?;
    let (record, new) = match lifecycle::create(pool, &guard, spec, Some(&publish.target))? {
        Provisioned::Made(record) => (record, true),
        Provisioned::Found(record) => (record, false),
    };
    let result = check_access(&record, &publish.stage.access)
        .and_then(|()| show_as_asked(&Found::look(pool, &guard, &spec.id)?, publish, mount_inline));
    // The caller may never unpublish after a final error. An earlier call, cut short, may have
    // made the volume; if it is shown somewhere, it is not deleted.
    let worthless = new || record.durability == Durability::Ephemeral;
    if result.as_ref().is_err_and(Error::is_final)
        && worthless
        && let Err(error) = delete(pool, &guard, &spec.id)
    {
        tracing::warn!(
            volume = spec.id,
            error = error.report(),
            "cannot delete an inline volume that failed to publish yet"
        );
    }
    result
}

/// Takes the volume away from a target path and removes the path; deletes the volume if it
/// was made by `publish_inline`.
pub(crate) fn unpublish(pool: &PoolDir, id: &str, target: &Path) -> Result<()> {
    let guard = lock::take(pool, id, "unpublish volume")?;
    let key = guard.key();
    check_path(pool, target)?;
    kata::withdraw(pool, key, target)?;
    unmount_all(pool, &guard, id, target)?;
    let removed = pool.host().remove_target(target);
    removed.map_err(|error| kata::explain_content(pool, key, error))?;
    match observe::read_record(pool, key)? {
        Some(record) if record.inline => delete(pool, &guard, id),
        _ => Ok(()),
    }
}

/// Deletes an inline volume.
fn delete(pool: &PoolDir, guard: &VolumeGuard, id: &str) -> Result<()> {
    lifecycle::delete(pool, guard, id, &observe::observe(pool, guard.key())?)
}

/// Binds the device's node to a file target.
fn publish_node(volume: &Found<'_>, publish: &Publish) -> Result<()> {
    let Found { pool, key, record, .. } = volume;
    let host = pool.host();
    let read_only = publish.is_read_only();
    kata::refuse_if_published(pool, record)?;
    volume.activate(read_only, |device| {
        let role = if read_only { Role::ReadOnlyView } else { Role::Snapshot };
        let node = pool.layout().node(key, role);
        let bound = Target::Node { device };
        show(volume, &publish.target, TargetKind::File, Parents::Expect, bound, || {
            refuse_other_use(volume, TargetKind::File)?;
            host.make_node(&node, device, record.owner)?;
            host.bind(&BindSpec {
                source: node.clone(),
                target: publish.target.clone(),
                read_only: false,
                device_nodes: true,
            })
        })
        .map(drop)
    })
}

/// Binds the staged file system to a directory target.
fn publish_directory(volume: &Found<'_>, publish: &Publish) -> Result<()> {
    let device = ensure_staged(volume, &publish.stage, Parents::Make)?;
    let read_only = publish.is_read_only();
    let bound = Target::FileSystem { device, read_only, failed: false };
    show(volume, &publish.target, TargetKind::Directory, Parents::Expect, bound, || {
        let Found { pool, record, .. } = volume;
        refuse_failed(pool, record, &publish.stage.path)?;
        pool.host().bind(&BindSpec {
            source: publish.stage.path.clone(),
            target: publish.target.clone(),
            read_only,
            device_nodes: false,
        })
    })
    .map(drop)
}

/// Nobody new gets a file system that an error turned read-only.
fn refuse_failed(pool: &PoolDir, record: &VolumeRecord, staged: &Path) -> Result<()> {
    if !matches!(pool.host().target(staged)?, Target::FileSystem { failed: true, .. }) {
        return Ok(());
    }
    let why = format!("an error turned its file system, at {}, read-only", staged.display());
    Err(Error::new(ErrorKind::Corrupt, "publish volume", &record.id, why).remedy(
        "the kernel log says why; unpublish it everywhere and unstage it, then publish it again",
    ))
}

fn refuse_if_published_elsewhere(volume: &Found<'_>, publish: &Publish) -> Result<()> {
    if was_never_shown(volume)? {
        return Ok(());
    }
    let Found { pool, key, record, before, .. } = volume;
    let (target, staged) =
        (pool.host().resolve(&publish.target), pool.host().resolve(&publish.stage.path));
    let mounts = mounts_of(pool, key, before)?;
    if mounts.iter().any(|mount| mount.path == target) {
        // A repeated call; who may have bound it elsewhere since is the caller's matter.
        return Ok(());
    }
    let elsewhere = mounts.into_iter().find(|mount| mount.path != staged);
    match elsewhere {
        None => Ok(()),
        Some(mount) => Err(Error::new(
            ErrorKind::InUse,
            "publish volume",
            &record.id,
            format!(
                "its access mode allows one writer, and it is published at {}",
                mount.path.display()
            ),
        )
        .remedy("unpublish it there first, or use SINGLE_NODE_MULTI_WRITER")),
    }
}

/// Whether the volume cannot be published anywhere: the node that every block target is bound from
/// stays until the volume goes, a mounted file system has the device open, and no Kata can have been
/// told of it. Spares reading the mount table, which grows with the node's volumes.
fn was_never_shown(volume: &Found<'_>) -> Result<bool> {
    let Found { pool, key, record, before, .. } = volume;
    let nodes = [Role::Snapshot, Role::ReadOnlyView].map(|role| pool.layout().node(key, role));
    for node in nodes {
        if pool.host().file(&node)?.is_some() {
            return Ok(false);
        }
    }
    Ok(!record.kata_direct && before.open_devices().is_empty())
}
