//! The layout of a pool. Only this file knows the names of files in it.
//!
//! ```text
//! <pool>/pool.json                   format version and pool id
//! <pool>/lock                        byte-range locks, see sys::lock
//! <pool>/templates/<name>.json       name -> digest; replaced by rename
//! <pool>/images/<digest>/image       content, read-only, extended sparsely to the largest volume
//! <pool>/images/<digest>/loop        its last loop device, a hint
//! <pool>/images/<digest>/import.json the file that it was read from, to avoid reading it twice
//! <pool>/images/.import-<id>/        a running or interrupted import: the same two files, and a
//!                                    third, `source`, while the first is made of it. Of a commit, only
//!                                    the files
//! <pool>/volumes/<key>/volume.json   the intent: a volume exists as long as this file does
//! <pool>/volumes/<key>/cow           its COW store (or `disk`, a private copy, in fallback)
//! <pool>/volumes/<key>/abandoned     when an inline volume's pod was first found missing
//! <pool>/volumes/<key>/node          its published device node (`node-ro` for readers)
//! <pool>/volumes/<key>/claim/        the spare that is becoming its device
//! <pool>/volumes/<key>/seed          the COW store with which an ephemeral volume starts after a reboot
//! <pool>/volumes/<key>/overlay       what is written while a snapshot is made of it, until that is merged into `cow`
//! <pool>/snapshots/<key>/snapshot.json   the record: a snapshot exists as long as this file does
//! <pool>/snapshots/<key>/cow         what its volume's COW store was
//! <pool>/snapshots/<key>/fork.json   instead of a record: the volumes that are being made of the store
//! <pool>/snapshots/<key>/group.json  instead of a record: which snapshots of several volumes are of one instant
//! <pool>/spares/<token>/spare.json   the record of a volume with the spare's properties
//! <pool>/spares/<token>/cow          its COW store
//! ```

use std::path::{Path, PathBuf};

use crate::model::device_id::Role;
use crate::model::digest::Digest;
use crate::model::key::Key;
use crate::model::policy::Backing;

/// Prefix of the directories of running imports; a digest never starts with it.
pub const IMPORT_PREFIX: &str = ".import-";

/// The paths of one pool.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Returns the layout of the pool at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The pool's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The record of the pool's format version and identity.
    pub fn pool_record(&self) -> PathBuf {
        self.root.join("pool.json")
    }

    /// The file that carries all locks.
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The directory of all template names.
    pub fn templates(&self) -> PathBuf {
        self.root.join("templates")
    }

    /// The record of what the template `name` points to. The caller has checked the name.
    pub fn template_record(&self, name: &str) -> PathBuf {
        self.templates().join(format!("{name}.json"))
    }

    /// The directory of all template content.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// The directory of the content with this digest.
    pub fn image_directory(&self, digest: &Digest) -> PathBuf {
        self.images().join(digest.as_str())
    }

    /// The content with this digest.
    pub fn image(&self, digest: &Digest) -> PathBuf {
        self.image_directory(digest).join("image")
    }

    /// The file with the number of the loop device that was last attached to the content: a hint,
    /// checked before use.
    pub fn image_loop(&self, digest: &Digest) -> PathBuf {
        self.image_directory(digest).join("loop")
    }

    /// The directory of the import from the source with this id.
    pub fn import_directory(&self, id: &str) -> PathBuf {
        self.images().join(format!("{IMPORT_PREFIX}{id}"))
    }

    /// The record of an import's progress, in its directory or in that of the content that it
    /// became.
    pub fn import_record(directory: &Path) -> PathBuf {
        directory.join("import.json")
    }

    /// The source in the directory of an import, where the content is made of a copy of it.
    pub fn import_source(directory: &Path) -> PathBuf {
        directory.join("source")
    }

    /// The parts of the source in the directory of an import, where they are fetched one by one.
    pub fn import_parts(directory: &Path) -> PathBuf {
        directory.join("parts")
    }

    /// How the container image is run of which the content in a directory was made.
    pub fn image_config(directory: &Path) -> PathBuf {
        directory.join("config.json")
    }

    /// The content in the directory of an import.
    pub fn import_image(directory: &Path) -> PathBuf {
        directory.join("image")
    }

    /// The directory of all volumes.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// The directory of one volume.
    pub fn volume_directory(&self, key: &Key) -> PathBuf {
        self.volumes().join(key.as_str())
    }

    /// The intent; the volume exists as long as this file does.
    pub fn volume_record(&self, key: &Key) -> PathBuf {
        self.volume_directory(key).join("volume.json")
    }

    /// The volume's store: its COW store, or its private copy of the template.
    pub fn store(&self, key: &Key, backing: Backing) -> PathBuf {
        self.volume_directory(key).join(match backing {
            Backing::Snapshot => "cow",
            Backing::Reflink | Backing::Copy => "disk",
        })
    }

    /// The COW store with which an ephemeral volume starts after a reboot, if not with an empty one.
    pub fn seed(&self, key: &Key) -> PathBuf {
        self.volume_directory(key).join("seed")
    }

    /// The COW store of what is written while, or since, a snapshot is made of the volume in use.
    pub fn overlay(&self, key: &Key) -> PathBuf {
        self.volume_directory(key).join("overlay")
    }

    /// The directory of the spare that is becoming the volume's device.
    pub fn claim(&self, key: &Key) -> PathBuf {
        self.volume_directory(key).join("claim")
    }

    /// The directory of all snapshots.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// The directory of one snapshot.
    pub fn snapshot_directory(&self, key: &Key) -> PathBuf {
        self.snapshots().join(key.as_str())
    }

    /// The record of a snapshot, which exists as long as this file does.
    pub fn snapshot_record(&self, key: &Key) -> PathBuf {
        self.snapshot_directory(key).join("snapshot.json")
    }

    /// The record of a fork that is not complete, in the directory of its cut.
    pub fn fork_record(&self, key: &Key) -> PathBuf {
        self.snapshot_directory(key).join("fork.json")
    }

    /// The record of a group of snapshots, in a directory of its own.
    pub fn group_record(&self, key: &Key) -> PathBuf {
        self.snapshot_directory(key).join("group.json")
    }

    /// The COW store of a snapshot.
    pub fn snapshot_store(&self, key: &Key) -> PathBuf {
        self.snapshot_directory(key).join("cow")
    }

    /// The directory of all spares.
    pub fn spares(&self) -> PathBuf {
        self.root.join("spares")
    }

    /// The directory of one spare.
    pub fn spare_directory(&self, token: &Key) -> PathBuf {
        self.spares().join(token.as_str())
    }

    /// The record of a spare, in its own directory or in the `claim` directory of a volume.
    pub fn spare_record(directory: &Path) -> PathBuf {
        directory.join("spare.json")
    }

    /// The COW store of a spare, in the same directories.
    pub fn spare_store(directory: &Path) -> PathBuf {
        directory.join("cow")
    }

    /// Says that the file system lost writes to the volume's COW store.
    pub fn lost_writes(&self, key: &Key) -> PathBuf {
        self.volume_directory(key).join("lost-writes")
    }

    /// When a volume with a time to live was created.
    pub fn lifetime(&self, key: &Key) -> PathBuf {
        self.volume_directory(key).join("lifetime.json")
    }

    /// The record of when the pod of an inline volume was first found missing.
    pub fn abandoned(&self, key: &Key) -> PathBuf {
        self.volume_directory(key).join("abandoned")
    }

    /// The device node that is bound to block targets.
    pub fn node(&self, key: &Key, role: Role) -> PathBuf {
        self.volume_directory(key).join(Self::node_name(role))
    }

    fn node_name(role: Role) -> &'static str {
        match role {
            // Nobody publishes it.
            Role::Base => "node-base",
            Role::Snapshot => "node",
            Role::ReadOnlyView => "node-ro",
        }
    }

    /// Parses the end of a path of a device node into its volume, in this pool or another.
    pub fn node_owner(path: &Path) -> Option<Key> {
        // The kernel adds this suffix if the node was replaced since it was bound.
        let text = path.to_str()?;
        let path = Path::new(text.strip_suffix("//deleted").unwrap_or(text));
        let directory = path.parent()?;
        let name = path.file_name()?;
        let roles = [Role::Snapshot, Role::ReadOnlyView];
        let is_node = roles.into_iter().any(|role| name == Self::node_name(role));
        let is_volume = directory.parent()?.file_name()? == "volumes";
        let key = Key::parse(directory.file_name()?.to_str()?)?;
        (is_node && is_volume).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_nodes_path_identifies_its_volume() {
        let layout = Layout::new("/pool");
        let key = Key::of("volume");
        let node = layout.node(&key, Role::Snapshot);
        let shown = |prefix: &str, suffix: &str| {
            PathBuf::from(format!("{prefix}{}{suffix}", node.display()))
        };
        for path in [node.clone(), shown("/a", ""), shown("", "//deleted"), shown("", "-ro")] {
            assert_eq!(Layout::node_owner(&path), Some(key.clone()), "{path:?}");
        }
        let volume = layout.volume_directory(&key);
        for path in [
            volume.clone(),
            volume.join("cow"),
            layout.volumes().join("short/node"),
            PathBuf::from(format!("/{key}/node")),
            PathBuf::from("/dm-3"),
            PathBuf::from("/"),
        ] {
            assert_eq!(Layout::node_owner(&path), None, "{path:?}");
        }
    }
}
