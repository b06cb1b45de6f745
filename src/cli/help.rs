//! The longer help texts.

pub(super) const ABOUT: &str = "\
Copy-on-write root disks for microVMs, in milliseconds

A template is a named, immutable disk image. A volume is a writable block device that starts as \
its template and takes up only the space of what is written to it. Templates and volumes live in a pool, a \
directory on a file system of this machine.

All commands work without a daemon, and beside a running one.";

pub(super) const EXAMPLES: &str = "\
Examples:
  calf doctor                                       is this machine ready?
  calf template import debian.img --name debian-12
  calf volume create vm1 --template debian-12 --size 20Gi
  calf volume activate vm1                          prints the device for the VMM
  calf volume delete vm1

'calf --help' also lists exit codes and environment variables.";

pub(super) const LONG: &str = "\
Examples:
  calf doctor                                       is this machine ready?
  calf template import debian.img --name debian-12
  calf volume create vm1 --template debian-12 --size 20Gi
  calf volume activate vm1                          prints the device for the VMM
  calf volume delete vm1

Sizes are bytes, or whole numbers with Ki, Mi, Gi, Ti (powers of 1024) or K, M, G, T (powers of \
1000).

Output:
  Results go to stdout, everything else to stderr. With `--output name`, a result is ids or names,
  one per line: `calf volume list -o name | xargs calf volume delete`. `status` and `doctor` print
  what is not healthy, `reconcile` prints what it changed. With `--output json`, a result is one
  JSON document, with sizes in bytes. An error is one line of JSON on stderr, the last line there:
  {\"error\": {\"kind\": …, \"exitCode\": …, \"message\": …, \"help\": […]}}. New versions may add fields,
  and do not rename or remove any.

Exit codes:
   0  done
   1  an internal error, or `doctor` or `reconcile` found a problem
   2  an argument is missing, malformed or unknown
   3  no such pool, template, volume, snapshot or file exists
   4  the id is taken by a volume or snapshot with other properties
   5  in use: a template with volumes, a device that is open
   6  another operation on the same volume is running: try again
   7  the pool is full or below its reserve
   8  a size is too small or too large
   9  this kernel or file system cannot do it: see `calf doctor`
  10  a privilege is missing: run the command as root
  11  stored data is damaged
  12  the command was interrupted, and goes on if it is repeated
  13  a directory above the given path is missing

Environment:
  CALF_POOL, CALF_OUTPUT, CALF_RESERVE, CALF_FALLBACK,
  CALF_TLS_CA, CALF_REGISTRY_AUTH_FILE, CALF_MIN_DOWNLOAD_RATE,
  CALF_KATA_DIRECT_VOLUMES                              the options of the same name
  HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY          how to reach URLs
  RUST_LOG                                              what to log, such as calf=debug
  NO_COLOR                                              no colours";

pub(super) const IMPORT: &str = "\
IMAGE is a raw or qcow2 disk image, a block device, an http(s) URL, or - for standard input, preferably with \
one file system and no partition table. It may also hold files, of which calf makes an ext4: a directory or a tar \
archive of a root file system, or a container image as an OCI layout or an archive of `docker save`, or in a \
registry by its name (docker://ghcr.io/team/app:1.2). It may be compressed with gzip, zstd, xz or bzip2: calf \
finds that out by the content, not by the name, and unpacks while it reads. calf refuses other formats and says how to \
make a raw image of them. It does not check the file system for damage (`e2fsck -fn` and `xfs_repair -n` \
do). The pool shares blocks with a raw image file if the file system supports it (XFS, Btrfs), and holes \
stay holes. A URL needs the SHA-256 of the file or of the disk in it; calf does not download content \
that the pool already has.

To resume an interrupted import, repeat the command; a compressed image begins anew, and so does a qcow2 image from a file. If the name exists, \
it moves to the new content; existing volumes keep the content that they started from.

Examples:
  calf template import debian.img --name debian-12
  calf template import https://example.org/debian.img --name debian-12 --sha256 0a1b…
  calf template import debian.raw.xz --name debian-12 --sha256sums SHA256SUMS
  calf template import rootfs.tar.zst --name debian-12 --size 4Gi
  calf template import docker://ghcr.io/team/app:1.2 --name app --init ./init
  docker save app | calf template import - --name app
  ssh builder cat disk.zst | calf template import - --name disk
  calf template import cloud.qcow2 --name cloud --partition root";

pub(super) const CREATE_EMPTY: &str = "\
Volumes of the template are plain scratch disks: empty, formatted, ready to be mounted. The file system has \
4 KiB blocks and a journal; it takes up almost nothing in the pool, and grows to the size of each volume when that \
is mounted. Its journal and its inodes for each GiB stay as they are: 128Mi has a journal of 16 MiB and as many \
inodes as mkfs.ext4 makes; smaller ones have fewer, and 1Gi has a journal of 32 MiB.

The same size gives the same content on every node. If the name exists, it moves to the new content; existing \
volumes keep the content that they started from.

Examples:
  calf template create --empty ext4 --size 128Mi --name scratch
  calf volume create data --template scratch --size 20Gi";

pub(super) const COMMIT: &str = "\
The template shows what the snapshot or the volume shows, bit for bit. It shares the blocks of both the COW \
store and the template that this rests on, which XFS (reflink=1) and Btrfs can, so that it is made at once and \
takes up no space; on other file systems, only what is not active can be committed, and all of its content is \
copied. It needs neither the snapshot, the volume nor the other template afterwards.

Nothing of the content is read, so its digest (`commit:…`) says what it was made of, not what it holds. With --digest, all of it is read and the template has its SHA-256, which a list of templates can ask for.

If the name exists, it moves to the new content; existing volumes keep the content that they started from.

Examples:
  calf template commit --snapshot warm --name base-2
  calf template commit --volume vm1 --name base-2 --digest";

pub(super) const FORK: &str = "\
All of them start from the same instant, and either all are made or none; no snapshot is left. They share \
the blocks of the volume's COW store, which XFS (reflink=1) and Btrfs can; on other file systems, only a \
volume that is not active can be forked, and its content is copied.

Examples:
  calf volume fork vm1 --count 20                   vm1-1 to vm1-20
  calf volume fork vm1 a b --activate               prints two devices for VMMs";

pub(super) const SNAPSHOT_ACTIVATE: &str = "\
The device shows what a volume of the snapshot would, without making one. Nothing can write to it, and \
the snapshot stays as it is. It lasts until `calf snapshot deactivate`, the deletion of the snapshot, or \
a reboot. Repeating the command is safe.

Examples:
  dd if=$(calf snapshot activate warm) of=/backup/warm.raw bs=1M
  mount -o ro,norecovery $(calf snapshot activate warm) /mnt     (XFS: also nouuid; ext4: noload)";

pub(super) const SNAPSHOT_CREATE: &str = "\
The snapshot has all that was acknowledged before one instant during the call, and nothing of what was \
written after it. It is on the disk when the command returns, whatever the volume's durability. It shares \
the blocks of the volume's COW store, which XFS (reflink=1) and Btrfs can; on other file systems, only a \
volume that is not active can have one, and its content is copied. `calf volume create --snapshot NAME` \
makes volumes that start from it; it may outlive its volume.

A guest's file system is as after a loss of power, and recovers with its journal. For more, have the guest \
freeze its file systems during the call.

Examples:
  calf snapshot create vm1 warm
  calf volume create vm2 --snapshot warm --activate";

pub(super) const SNAPSHOT_EXPORT: &str = "\
The stream has all that was written, but not the template's content, which the other pool has to have under the same \
digest. With --base, it has only what changed since an earlier snapshot of the same volume. Neither a device nor the \
kernel is needed for it. It ends with a digest of all that is in it, so that nothing of a damaged or half stream \
counts. A FILE appears once it is complete. What is confirmed goes to stderr if the stream goes to standard output.

Examples:
  calf snapshot export monday /backup/vm1.monday
  calf snapshot export tuesday --base monday --compress /backup/vm1.tuesday
  calf snapshot export monday | ssh node2 calf snapshot import --name vm1-monday";

pub(super) const SNAPSHOT_IMPORT: &str = "\
The snapshot is complete and on the disk when the command returns, and `calf volume create --snapshot` makes \
volumes that start from it. The pool needs the same content of the template, under any name, and for a stream with a \
base that snapshot, which is found by its identity. If the command fails or is interrupted, nothing of it is left, and \
repeating it with the same stream is safe.

Examples:
  calf snapshot import --name monday /backup/vm1.monday
  calf snapshot import --name tuesday /backup/vm1.tuesday
  calf volume create vm1 --snapshot tuesday --activate";

pub(super) const SNAPSHOT_GROUP_CREATE: &str = "\
All snapshots have what was acknowledged before one and the same instant, and nothing of what was written \
after it. Either all are made or none. Writers of all volumes wait meanwhile, for about a millisecond each. The \
snapshot of volume v in group g has the name g.v; it is used like any other, and deleted with its group.

Examples:
  calf snapshot group create before-upgrade root data
  calf volume create root2 --snapshot before-upgrade.root
  calf snapshot group delete before-upgrade";

pub(super) const SNAPSHOT_DIFF: &str = "\
All that differs is in the list, in whole chunks; what is not in it is the same in both. A range may also hold the \
same in both, if it was written with what it held. If the volume grew, all that it grew by is in the list.

On XFS and Btrfs, calf compares where the blocks are, and reads no content but what Btrfs compresses; on other file \
systems, it reads what both snapshots have written. Both must rest on the same template content in chunks of the same \
size.

With `--output name`, each line is an offset and a length in bytes; `--output json` has `ranges`.

Examples:
  calf snapshot diff monday tuesday
  calf snapshot diff monday tuesday -o json | jq .bytes";

pub(super) const SNAPSHOT_ALLOCATED: &str = "\
The list has the data of the template and all that was written; everywhere else are zeros.

With `--output name`, each line is an offset and a length in bytes; `--output json` has `ranges`.

Examples:
  calf snapshot allocated monday -o json | jq .bytes";

pub(super) const WARM: &str = "\
A spare is a device made in advance for a volume of the template. When a volume is activated, it \
claims a spare instead of getting a new device, if the volume is ephemeral and has the template's size, \
the default chunk size, no cowLimit and nothing reserved. The template keeps this number until you \
change it. The driver makes new spares when it is idle; without a driver, this command makes them. \
A spare takes up about as much space as an unwritten volume.

Examples:
  calf template warm debian-12 10
  calf template warm debian-12 0                    removes all spares";

pub(super) const CREATE: &str = "\
Repeating the command is safe: it succeeds if the volume exists with the same properties.

Examples:
  calf volume create vm1 --template debian-12
  calf volume create vm2 --template debian-12 --size 20Gi --cow-limit 5Gi
  calf volume create vm3 --template debian-12 --uid 1000 --gid 1000   for a jailed VMM
  calf volume create vm4 --template debian-12 --activate              prints the device";

pub(super) const INSPECT: &str = "\
Examples:
  calf volume inspect vm1
  calf volume inspect /dev/dm-5210                  whose device is it?
  calf volume inspect /srv/jailer/vm1/root/disk     a published node
  calf volume inspect calf-6cf9…                    a name from `dmsetup ls`";

pub(super) const ACTIVATE: &str = "\
Prints only the path of the device. Succeeds if the volume is already active.

Example:
  qemu-system-x86_64 … -drive if=virtio,format=raw,file=$(calf volume activate vm1)";

pub(super) const EXPAND: &str = "\
Also called `resize`. This does not grow the file system in the volume: a guest must grow its own \
(resize2fs, xfs_growfs). With --at, calf also grows a file system that this machine has mounted.

Examples:
  calf volume expand vm1 40Gi
  calf volume expand vm1 40Gi --at /srv/vm1";

pub(super) const RECOVER: &str = "\
Free space in the pool first, or give --cow-limit: calf refuses while the cause is still there. It checks \
the COW store before it changes anything, and refuses one that is damaged. After the recovery, check the \
file system in the volume (fsck, xfs_repair), as after a crash.

Examples:
  calf volume recover vm1
  calf volume recover vm1 --cow-limit 20Gi";

pub(super) const ROLLBACK: &str = "\
End what uses the volume first: calf refuses while it is mounted, published or open, and names who has it. Its \
device is taken down. The volume keeps its size, its limit and its durability; an ephemeral one starts from its \
template (or from the snapshot that it was made of) after a reboot, as ever. Repeating the command is safe.

Examples:
  calf snapshot create vm1 before-upgrade
  calf volume rollback vm1 --snapshot before-upgrade";

pub(super) const STAGE: &str = "\
The kernel of this machine reads the file system: mount only templates that you trust, and give others \
to a guest as a device. Repeating the command is safe. `calf volume publish --staging` shows the file \
system at more paths.

Example:
  calf volume stage vm1 /srv/vm1 --mount-option noatime
  calf volume unstage vm1 /srv/vm1";

pub(super) const PUBLISH: &str = "\
Publishes a volume for a VMM that runs jailed: the device node at TARGET belongs to the volume alone, \
with the owner and mode given at its creation. Activates the volume if necessary. Repeating the \
command is safe.

Examples:
  calf volume create vm1 --template debian --uid 1000 --gid 1000
  calf volume publish vm1 /srv/jailer/vm1/root/disk
  calf volume publish vm2 /srv/shared/vm2 --staging /srv/vm2 --read-only";

pub(super) const PUBLISH_INLINE: &str = "\
`calf volume unpublish` deletes the volume. If the directory around TARGET has been removed and nothing \
uses the volume, `calf reconcile` deletes it after its grace period.

Examples:
  calf volume publish-inline vm1 /srv/jailer/vm1/root/disk --template debian --uid 1000
  calf volume publish-inline job1 /srv/job1/root --template debian --mount
  calf volume unpublish job1 /srv/job1/root";

pub(super) const DOCTOR: &str = "\
Each line is OK, WARN or FAIL; a line that is not OK says how to fix the problem. The exit code is 1 \
if a line says FAIL. The command changes nothing, except that it makes a temporary file in the pool to \
test reflinks.";

pub(super) const RECONCILE: &str = "\
The driver does the same when it starts, and every five minutes. This is safe at any time, and leaves \
volumes in use alone. The exit code is 1 if a repair failed.";

pub(super) const SERVE: &str = "\
Logs go to stderr. SIGTERM and SIGINT let running calls end, up to the drain timeout.

The driver imports the templates in --templates FILE while it serves, and retries failed imports. FILE \
is JSON; a sha256, of the image or of the compressed file, is required for URLs:
  {\"templates\": [{\"name\": \"base\", \"source\": \"/images/base.img\", \"warm\": 10},
                 {\"name\": \"web\", \"source\": \"https://…/web.img\", \"sha256\": \"…\"}]}
`warm` is how many spare devices to keep ready for new volumes, 0 by default (see `calf template warm \
--help`).

Examples:
  calf serve --endpoint unix:///run/calf/csi.sock --pool /var/lib/calf --node-id $(hostname)
  calf serve … --metrics-address 0.0.0.0:9810 --templates /etc/calf/templates.json";

pub(super) const UDEV_RULES: &str = "\
With --install, calf replaces the file atomically, and only if it differs.

Examples:
  calf udev-rules >/etc/udev/rules.d/10-calf.rules && udevadm control --reload
  calf udev-rules --install /etc/udev/rules.d";

pub(super) const MAN: &str = "\
Examples:
  calf man volume create | man -l -
  calf man --install /usr/local/share/man/man1";

pub(super) const COMPLETIONS: &str = "\
This script completes commands and options. To complete ids and names as well, put a line into the \
shell's start file instead, which makes the shell run calf at each Tab. calf then reads the pool, if the \
user may.

Examples:
  calf completions bash >/etc/bash_completion.d/calf
  source <(COMPLETE=bash calf)                      in ~/.bashrc
  source <(COMPLETE=zsh calf)                       in ~/.zshrc
  COMPLETE=fish calf | source                       in ~/.config/fish/config.fish";

pub(super) const KUBECTL: &str = "\
It runs `calf` in the driver's pods by `kubectl exec`, as the user of the kubeconfig, who needs the rights to \
list pods and to execute in them. A node that does not answer is named on stderr, the others are shown, and the exit \
code is not 0.

Examples:
  kubectl calf status
  kubectl calf top --count 5
  kubectl calf doctor --node worker-3
  kubectl calf volumes --namespace calf --output json";
