//! The longer help texts.

pub(super) const ABOUT: &str = "\
Copy-on-write root disks for microVMs, in milliseconds

A template is a named, immutable disk image. A volume is a writable block device that starts as \
its template and takes up only what is written to it. Templates and volumes live in a pool, a \
directory on a file system of this machine.

All commands work with no daemon running, and beside one.";

pub(super) const EXAMPLES: &str = "\
Examples:
  calf doctor                                       is this machine ready?
  calf template import debian.img --name debian-12
  calf volume create vm1 --template debian-12 --size 20Gi
  calf volume activate vm1                          prints the device for the VMM
  calf volume delete vm1

'calf --help' also tells exit codes and environment variables.";

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
  one a line: `calf volume list -o name | xargs calf volume delete`; of `status` and `doctor`, of
  what is not well; of `reconcile`, of what it changed. With `--output json`, a result is one JSON
  document, with sizes in bytes; an error is one line of JSON on stderr, the last one there:
  {\"error\": {\"kind\": …, \"exitCode\": …, \"message\": …, \"help\": […]}}. Fields are added over time,
  and not renamed or removed.

Exit codes:
   0  done
   1  an internal error, or `doctor` or `reconcile` found something wrong
   2  an argument is missing, malformed or unknown
   3  there is no such pool, template, volume or file
   4  the id is taken by a volume with other properties
   5  in use: a template with volumes, a device that is open
   6  another operation on the same volume is running: try again
   7  the pool is full or below its reserve
   8  a size is too small or too large
   9  this kernel or file system cannot do it: see `calf doctor`
  10  a right is missing: run it as root
  11  what is stored is damaged

Environment:
  CALF_POOL, CALF_OUTPUT, CALF_RESERVE, CALF_FALLBACK,
  CALF_TLS_CA, CALF_KATA_DIRECT_VOLUMES                 the options of the same names
  HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY          how to reach URLs
  RUST_LOG                                              what to log, such as calf=debug
  NO_COLOR                                              no colours";

pub(super) const IMPORT: &str = "\
IMAGE is a raw disk image, a block device or an http(s) URL, best with one file system and no \
partition table. Other formats are refused with what makes a raw image of them; the file system in it \
is not checked (`e2fsck -fn`, `xfs_repair -n`). Blocks are shared with a file where the file system \
can (XFS, Btrfs), and holes stay holes. A URL needs the image's SHA-256; content that the pool has \
already is not fetched again.

An import that was interrupted goes on when the same command is given again. A name that exists \
moves to the new content; volumes keep what they started from.

Examples:
  calf template import debian.img --name debian-12
  calf template import https://example.org/debian.img --name debian-12 --sha256 0a1b…
  qemu-img convert -O raw cloud.qcow2 cloud.img && calf template import cloud.img --name cloud";

pub(super) const WARM: &str = "\
A spare is the device that a volume of the template has with everything at its default. A volume that \
is activated takes one over, in place of having its own made, if its size is the template's and it is \
ephemeral, with the default chunk size, no cowLimit and nothing reserved. The number stays with the \
template until it is set anew; the driver makes new spares when it is idle, without a driver this \
command makes them. A spare takes up about as much as a volume that was not written to.

Examples:
  calf template warm debian-12 10
  calf template warm debian-12 0                    removes them";

pub(super) const CREATE: &str = "\
The same command again is fine: a volume that exists with the same properties is a success.

Examples:
  calf volume create vm1 --template debian-12
  calf volume create vm2 --template debian-12 --size 20Gi --cow-limit 5Gi
  calf volume create vm3 --template debian-12 --uid 1000 --gid 1000   for a jailed VMM
  calf volume create vm4 --template debian-12 --activate              prints the device";

pub(super) const INSPECT: &str = "\
Examples:
  calf volume inspect vm1
  calf volume inspect /dev/dm-3                     whose device is it?
  calf volume inspect /srv/jailer/vm1/root/disk     a node that was published
  calf volume inspect calf-6cf9…                    a name of `dmsetup ls`";

pub(super) const ACTIVATE: &str = "\
Prints the path of the device, and nothing else. A volume that is active already is fine.

Example:
  qemu-system-x86_64 … -drive if=virtio,format=raw,file=$(calf volume activate vm1)";

pub(super) const EXPAND: &str = "\
Also called `resize`. A file system in the volume does not grow by that alone: a guest grows its own \
(resize2fs, xfs_growfs), and --at has one grown that this machine mounted.

Examples:
  calf volume expand vm1 40Gi
  calf volume expand vm1 40Gi --at /srv/vm1";

pub(super) const STAGE: &str = "\
The kernel of this machine reads the file system: mount templates that you trust, and give others to a \
guest as a device. The same again is fine. `calf volume publish --staging` shows it elsewhere too.

Example:
  calf volume stage vm1 /srv/vm1 --mount-option noatime
  calf volume unstage vm1 /srv/vm1";

pub(super) const PUBLISH: &str = "\
For a VMM that runs jailed: the device node at TARGET is the volume's own, with the owner and mode \
that were given when it was created. Activates the volume if it is not. The same again is fine.

Examples:
  calf volume create vm1 --template debian --uid 1000 --gid 1000
  calf volume publish vm1 /srv/jailer/vm1/root/disk
  calf volume publish vm2 /srv/shared/vm2 --staging /srv/vm2 --read-only";

pub(super) const PUBLISH_INLINE: &str = "\
The volume is gone with `calf volume unpublish`, and, once the directory around TARGET has been removed \
and nobody uses the volume, with the next `calf reconcile` after its time of grace.

Examples:
  calf volume publish-inline vm1 /srv/jailer/vm1/root/disk --template debian --uid 1000
  calf volume publish-inline job1 /srv/job1/root --template debian --mount
  calf volume unpublish job1 /srv/job1/root";

pub(super) const DOCTOR: &str = "\
Each line is OK, WARN or FAIL; what is not OK says how to mend it. The exit code is 1 if a line \
says FAIL. Nothing is changed, except for a temporary file in the pool to try reflinks.";

pub(super) const RECONCILE: &str = "\
The driver does this by itself when it starts, and every five minutes. Volumes that are in use are left alone; it is safe \
at any time. The exit code is 1 if a repair failed.";

pub(super) const SERVE: &str = "\
Logs go to stderr. SIGTERM and SIGINT let running calls end, up to the drain timeout.

Templates of --templates FILE are imported while the driver serves, and tried again until they are \
there. FILE is JSON; a sha256 is required for URLs:
  {\"templates\": [{\"name\": \"base\", \"source\": \"/images/base.img\", \"warm\": 10},
                 {\"name\": \"web\", \"source\": \"https://…/web.img\", \"sha256\": \"…\"}]}
`warm` is how many spare devices are ready for the next volumes, 0 without it (`calf template warm \
--help`).

Examples:
  calf serve --endpoint unix:///run/calf/csi.sock --pool /var/lib/calf --node-id $(hostname)
  calf serve … --metrics-address 0.0.0.0:9810 --templates /etc/calf/templates.json";

pub(super) const UDEV_RULES: &str = "\
With --install, the file is replaced as a whole, and only if it differs.

Examples:
  calf udev-rules >/etc/udev/rules.d/10-calf.rules && udevadm control --reload
  calf udev-rules --install /etc/udev/rules.d";

pub(super) const MAN: &str = "\
Examples:
  calf man volume create | man -l -
  calf man --install /usr/local/share/man/man1";

pub(super) const COMPLETIONS: &str = "\
This script completes commands and options. To complete ids and names as well, have the shell ask calf at \
each Tab, by a line in its start file in place of this script. The pool is read, as far as that is allowed.

Examples:
  calf completions bash >/etc/bash_completion.d/calf
  source <(COMPLETE=bash calf)                      in ~/.bashrc
  source <(COMPLETE=zsh calf)                       in ~/.zshrc
  COMPLETE=fish calf | source                       in ~/.config/fish/config.fish";
