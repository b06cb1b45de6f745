//! Recognizes the pod of a process by the names of its control groups.
//!
//! kubelet names the group of a pod after the pod's UID, and container runtimes name the group of a
//! container after the container's id: `…/kubepods-burstable-pod<UID with _>.slice/cri-containerd-<id>.scope`
//! with systemd, `…/kubepods/burstable/pod<UID>/<id>` without.

use crate::sys::Pod;

/// Digits of a container id, and how many of them are told: enough for `crictl`.
const ID_DIGITS: usize = 64;
const SHOWN_DIGITS: usize = 13;

/// The pod that a process belongs to, by its `/proc/<pid>/cgroup`.
pub(super) fn parse(content: &str) -> Option<Pod> {
    content.lines().filter_map(|line| line.splitn(3, ':').nth(2)).find_map(|path| {
        let mut parts = path.split('/');
        let uid = parts.find_map(uid)?;
        Some(Pod { uid, container: parts.find_map(container) })
    })
}

fn uid(part: &str) -> Option<String> {
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let (before, uid) = part.rsplit_once("pod")?;
    let uid = uid.replace('_', "-");
    let digits = uid.chars().filter(char::is_ascii_hexdigit).count();
    let rest = uid.len() - digits;
    // The UID of a static pod is a hash, without hyphens.
    let is_uid = digits == 32 && (rest == 0 || rest == 4 && uid.matches('-').count() == 4);
    (is_uid && (before.is_empty() || before.ends_with('-'))).then_some(uid)
}

fn container(part: &str) -> Option<String> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let id = part.rsplit('-').next()?;
    let is_id = id.len() == ID_DIGITS && id.chars().all(|c| c.is_ascii_hexdigit());
    is_id.then(|| id[..SHOWN_DIGITS].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0a1b2c3d-1111-2222-3333-444455556666";

    #[test]
    fn a_pod_is_known_by_its_control_group() {
        let id = "f".repeat(ID_DIGITS);
        let systemd = UID.replace('-', "_");
        let hash = UID.replace('-', "");
        for (content, uid, container) in [
            (
                format!(
                    "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{systemd}.slice/cri-containerd-{id}.scope\n"
                ),
                UID,
                true,
            ),
            // From a container with a control group namespace of its own, in a group below.
            (format!("0::/../../kubepods-pod{systemd}.slice/crio-{id}.scope/init\n"), UID, true),
            (format!("12:cpu:/x\n3:memory:/kubepods/besteffort/pod{UID}/{id}\n0::/\n"), UID, true),
            (format!("0::/kubepods/pod{hash}/{id}\n"), hash.as_str(), true),
            (format!("0::/kubepods.slice/kubepods-pod{systemd}.slice\n"), UID, false),
        ] {
            let container = container.then(|| id[..SHOWN_DIGITS].to_owned());
            assert_eq!(parse(&content), Some(Pod { uid: uid.to_owned(), container }), "{content}");
        }
    }

    #[test]
    fn other_processes_belong_to_none() {
        for content in [
            "",
            "0::/\n",
            "0::/system.slice/podman.service\n",
            "0::/user.slice/tripod0a1b2c3d111122223333444455556666\n",
            "nonsense",
        ] {
            assert_eq!(parse(content), None, "{content}");
        }
    }
}
