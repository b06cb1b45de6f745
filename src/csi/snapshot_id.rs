//! The ids of snapshots: `<node>/<name>`.
//!
//! A snapshot exists on one node, and an orchestrator may ask the driver of any node for it. So its id says
//! on which node it is (docs/adr/0085-a-snapshot-id-names-its-node.md). A name that would make the id longer than
//! CSI's 128 bytes, or that starts with `/`, stands as its key: `<node>//<key>`.

use crate::model::key::Key;
use crate::model::volume_id;

const SEPARATOR: char = '/';

/// What an id leads to, seen from one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// The snapshot with this key, on this node; it need not exist.
    Here(Key),
    /// A snapshot on the node with this id.
    Elsewhere(&'a str),
    /// No snapshot: no driver gave such an id.
    Nowhere,
}

/// The id of the snapshot `name` on `node`.
pub(super) fn of(node: &str, name: &str) -> String {
    let id = format!("{node}{SEPARATOR}{name}");
    match name.starts_with(SEPARATOR) || !volume_id::is_valid(&id) {
        true => format!("{node}{SEPARATOR}{SEPARATOR}{}", Key::of(name)),
        false => id,
    }
}

/// Where the snapshot with this id is, for the driver on `node`.
pub(super) fn find<'a>(node: &str, id: &'a str) -> Place<'a> {
    let Some((place, name)) = id.split_once(SEPARATOR) else { return Place::Nowhere };
    if place != node {
        return Place::Elsewhere(place);
    }
    match name.strip_prefix(SEPARATOR) {
        None => Place::Here(Key::of(name)),
        Some(key) => Key::parse(key).map_or(Place::Nowhere, Place::Here),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_tells_people_node_and_name() {
        assert_eq!(of("node-1", "snapshot-5a"), "node-1/snapshot-5a");
        assert_eq!(of("n", "a/b"), "n/a/b");
        let key = Key::of("/a");
        assert_eq!(of("n", "/a"), format!("n//{key}"));
    }

    #[test]
    fn what_no_driver_gave_leads_nowhere() {
        for id in ["", "snapshot", "n//", "n//short", "n//0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F"] {
            assert_eq!(find("n", id), Place::Nowhere, "{id:?}");
        }
        assert_eq!(find("n", "/x"), Place::Elsewhere(""));
    }

    proptest! {
        #[test]
        fn an_id_leads_to_its_snapshot_on_its_node_alone(
            node in "[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", name in "[^\\p{Cc}]{1,128}",
        ) {
            prop_assume!(volume_id::is_valid(&name));
            let id = of(&node, &name);
            prop_assert!(volume_id::is_valid(&id), "{}", id);
            prop_assert_eq!(find(&node, &id), Place::Here(Key::of(&name)));
            prop_assert_eq!(find("elsewhere!", &id), Place::Elsewhere(&node));
        }
    }
}
