//! Checks that nothing is left, in the cluster and in the node's kernel and files.

use std::time::Duration;

use crate::Result;
use crate::world::World;

/// Deletion continues after the pod is gone: kubelet, the provisioner and the driver each do their
/// part in turn.
const LIMIT: Duration = Duration::from_secs(240);

/// Prints a line for each object of calf in the node's kernel or files.
///
/// The origin of a template is a loop device too, which is detached with its last volume. The
/// kernel names the backing file with the path that the attaching process saw, in a container.
const ON_THE_NODE: &str = r#"
dmsetup info --columns --noheadings --options name,uuid | grep CALF- | sed 's/^/dm device /'
for loop in /sys/block/loop*/loop/backing_file; do
    grep -sE '/(volumes|images)/[0-9a-f]+/' "$loop" | sed "s|^|$loop on |"
done
for process in /proc/[0-9]*; do
    grep -E ' /[^ ]*/volumes/[0-9a-f]+/node|/dev/mapper/calf-|/kubernetes.io~csi/.* calf| /dev/dm-' \
        "$process/mountinfo" 2>/dev/null
done | sort -u | sed 's/^/mount /'
find /var/lib/calf/volumes /var/lib/calf/snapshots -mindepth 1 -maxdepth 1 2>/dev/null
find /var/lib/kubelet/plugins/kubernetes.io/csi ! -type d 2>/dev/null
find /var/lib/kubelet/pods -path '*kubernetes.io~csi/*' ! -type d -prune 2>/dev/null
find /run/kata-containers/shared/direct-volumes -mindepth 1 2>/dev/null
true
"#;

/// Waits until nothing of any volume is left.
pub(crate) fn nothing_is_left(world: &World) -> Result<()> {
    let mut left = Vec::new();
    world
        .cluster
        .wait("everything of the scenario's volumes to be gone", LIMIT, || {
            left = what_is_left(world)?;
            Ok(left.is_empty().then_some(()))
        })
        .map_err(|error| format!("{error}; left are\n{}", left.join("\n")))
}

fn what_is_left(world: &World) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for kind in ["persistentvolumes", "volumeattachments", "volumesnapshotcontents"] {
        for object in world.cluster.list(&[kind])? {
            left.push(format!("{kind} {}", object["metadata"]["name"]));
        }
    }
    left.extend(world.node.run(ON_THE_NODE)?.lines().map(str::to_owned));
    Ok(left)
}
