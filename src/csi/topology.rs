//! The topology of volumes: they exist on this node only.

use std::collections::HashMap;

use crate::csi::v1;
use crate::error::{Error, ErrorKind, Result};

/// CSI's and Kubernetes' length limit for a topology value, the same as for a label's value.
const MAX_VALUE: usize = 63;

/// The topology segment of this node: `<driver>/node` = node id.
#[derive(Clone, Debug)]
pub(super) struct Topology {
    key: String,
    node: String,
}

impl Topology {
    /// The topology of node `node_id`.
    pub(super) fn new(driver_name: &str, node_id: &str) -> Result<Self> {
        if !is_label(node_id) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "use node id",
                format_args!("{node_id:?}"),
                format!(
                    "it is not a label value: at most {MAX_VALUE} letters, digits, `-`, `_` and `.`, \
                     with a letter or digit at both ends"
                ),
            )
            .remedy("give the node's name, or another id that no other node has"));
        }
        Ok(Self { key: format!("{driver_name}/node"), node: node_id.to_owned() })
    }

    /// The node's id.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// The topology as a message of CSI.
    pub(super) fn to_wire(&self) -> v1::Topology {
        v1::Topology { segments: HashMap::from([(self.key.clone(), self.node.clone())]) }
    }

    /// Whether this node is within `topology`.
    pub(super) fn is_within(&self, topology: &v1::Topology) -> bool {
        topology.segments.iter().all(|(key, value)| *key == self.key && *value == self.node)
    }

    /// Refuses a requirement that what is made on this node does not satisfy; `operation` is what is to be done.
    pub(super) fn require(
        &self,
        operation: &'static str,
        requirement: Option<&v1::TopologyRequirement>,
    ) -> Result<()> {
        let requisite = requirement.map(|r| r.requisite.as_slice()).unwrap_or_default();
        if requisite.is_empty() || requisite.iter().any(|topology| self.is_within(topology)) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::NoSpace,
            operation,
            format_args!("with the requested accessibility_requirements on node {}", self.node),
            format!(
                "none of the {} requisite topologies has {}={}",
                requisite.len(),
                self.key,
                self.node
            ),
        )
        .remedy(
            "send the request to the driver on a requested node; with external-provisioner, \
                 use --node-deployment, --strict-topology and WaitForFirstConsumer",
        ))
    }
}

fn is_label(text: &str) -> bool {
    let alphanumeric = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= MAX_VALUE
        && alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(pairs: &[(&str, &str)]) -> v1::Topology {
        let segments = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        v1::Topology { segments }
    }

    #[test]
    fn a_requirement_must_include_this_node() {
        let here = Topology::new("d.example", "n1").unwrap();
        let require = |requisite: Vec<v1::Topology>, preferred: Vec<v1::Topology>| {
            here.require("make a volume", Some(&v1::TopologyRequirement { requisite, preferred }))
        };
        let n1 = topology(&[("d.example/node", "n1")]);
        let n2 = topology(&[("d.example/node", "n2")]);
        assert_eq!(here.to_wire(), n1);
        assert!(here.require("make a volume", None).is_ok());
        assert!(require(vec![], vec![n2.clone()]).is_ok());
        assert!(require(vec![n2.clone(), n1], vec![]).is_ok());
        assert!(require(vec![topology(&[])], vec![]).is_ok());
        for other in [n2, topology(&[("zone", "z")])] {
            let error = require(vec![other], vec![]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NoSpace);
        }
    }

    #[test]
    fn node_ids_are_label_values() {
        for good in ["n", "node-1.example_x", &"a".repeat(63)] {
            assert!(Topology::new("d", good).is_ok(), "{good}");
        }
        for bad in ["", "-n", "n.", "a b", "a/b", "ü", &"a".repeat(64)] {
            assert!(Topology::new("d", bad).is_err(), "{bad}");
        }
    }
}
