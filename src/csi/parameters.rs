//! The properties that users give for a volume: StorageClass parameters and inline volume
//! attributes.
//!
//! Inline attributes come from anyone who may create a pod, parameters from an administrator. Both
//! are checked in the same way, and an unknown key is refused, so a typo never makes a volume with
//! unintended properties. Keys that Kubernetes adds are ignored, and their values (which include
//! service-account tokens) are never read.

use std::collections::HashMap;

use crate::csi::request::{invalid, missing};
use crate::csi::value;
use crate::error::Result;
use crate::model::policy::{Durability, NodeOwner, Reserve};
use crate::model::snapshot::VolumeSource;
use crate::model::volume::VolumeSpec;
use crate::pool::record::VolumeRecord;
use crate::volume::agreement::is_same_limit;

/// Marks an inline ephemeral volume in NodePublishVolume.
pub(super) const EPHEMERAL: &str = "csi.storage.k8s.io/ephemeral";

/// Prefix of the keys that Kubernetes adds: names of the claim, the pod and secrets, and tokens.
pub(super) const KUBERNETES_PREFIX: &str = "csi.storage.k8s.io/";
/// Added by external-provisioner to the attributes of the volumes that it makes.
const PROVISIONER_IDENTITY: &str = "storage.kubernetes.io/csiProvisionerIdentity";

const TEMPLATE: &str = "template";
const SIZE: &str = "size";
const COW_LIMIT: &str = "cowLimit";
const CHUNK_SIZE: &str = "chunkSize";
const DURABILITY: &str = "durability";
const DEVICE_UID: &str = "deviceUid";
const DEVICE_GID: &str = "deviceGid";
const DEVICE_MODE: &str = "deviceMode";
const KATA_DIRECT: &str = "kataDirectVolume";
const RESERVE: &str = "reserve";
const ALLOWED: &str = "template, cowLimit, chunkSize, durability, reserve, deviceUid, deviceGid, \
                       deviceMode and kataDirectVolume";

/// Where parameters come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// `parameters`: a StorageClass.
    Parameters,
    /// `volume_context` of a provisioned volume.
    Context,
    /// `volume_context` of an inline volume.
    Inline,
}

/// Checked parameters; a parameter that was not given is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) template: Option<String>,
    pub(super) size: Option<u64>,
    pub(super) cow_limit: Option<u64>,
    pub(super) chunk_size: Option<u64>,
    durability: Option<Durability>,
    pub(super) reserve: Option<Reserve>,
    uid: Option<u32>,
    gid: Option<u32>,
    mode: Option<u32>,
    pub(super) kata_direct: Option<bool>,
}

impl Parameters {
    /// Checks every key and value.
    pub(super) fn parse(origin: Origin, map: &HashMap<String, String>) -> Result<Self> {
        let name = origin.field();
        let mut parsed = Self::default();
        for (key, text) in map {
            let field = format!("{name}.{key}");
            match key.as_str() {
                TEMPLATE if text.is_empty() => return Err(missing(&field)),
                TEMPLATE => parsed.template = Some(text.clone()),
                SIZE if origin == Origin::Inline => {
                    parsed.size = Some(value::size(&field, text)?);
                }
                SIZE => {
                    return Err(invalid(&field, text, "only inline volumes have this attribute")
                        .remedy("request the size in the claim (resources.requests.storage)"));
                }
                COW_LIMIT => parsed.cow_limit = Some(value::cow_limit(&field, text)?),
                CHUNK_SIZE => parsed.chunk_size = Some(value::chunk_size(&field, text)?),
                DURABILITY => parsed.durability = Some(value::durability(&field, text)?),
                RESERVE => parsed.reserve = Some(value::reserve(&field, text)?),
                DEVICE_UID => parsed.uid = Some(value::user_or_group(&field, text)?),
                DEVICE_GID => parsed.gid = Some(value::user_or_group(&field, text)?),
                DEVICE_MODE => parsed.mode = Some(value::mode(&field, text)?),
                KATA_DIRECT => parsed.kata_direct = Some(value::boolean(&field, text)?),
                PROVISIONER_IDENTITY => {}
                key if key.starts_with(KUBERNETES_PREFIX) => {}
                // The value of an unknown key is not shown, since it may be a secret.
                key => {
                    let size = if origin == Origin::Inline { ", size" } else { "" };
                    return Err(invalid(name, key, "the key is unknown")
                        .remedy(format!("use {ALLOWED}{size}")));
                }
            }
        }
        Ok(parsed)
    }

    /// The volume that the parameters describe. It has the template of its source, if it has one: then the
    /// parameters need not name it.
    pub(super) fn into_spec(
        self,
        origin: Origin,
        id: &str,
        source: Option<VolumeSource>,
    ) -> Result<VolumeSpec> {
        let (owner, kata_direct) = (NodeOwner::default(), self.is_kata_direct());
        let template = match (self.template, &source) {
            (Some(template), _) => template,
            (None, Some(_)) => String::new(),
            (None, None) => return Err(missing(&format!("{}.{TEMPLATE}", origin.field()))),
        };
        Ok(VolumeSpec {
            source,
            size: self.size,
            cow_limit: self.cow_limit,
            chunk_size: self.chunk_size.unwrap_or(VolumeSpec::DEFAULT_CHUNK_SIZE),
            durability: self.durability.unwrap_or_default(),
            reserve: self.reserve.unwrap_or_default(),
            owner: NodeOwner {
                uid: self.uid.unwrap_or(owner.uid),
                gid: self.gid.unwrap_or(owner.gid),
                mode: self.mode.unwrap_or(owner.mode),
            },
            inline: origin == Origin::Inline,
            kata_direct,
            ..VolumeSpec::new(id, template)
        })
    }

    /// Whether Kata handles mount access.
    pub(super) fn is_kata_direct(&self) -> bool {
        self.kata_direct.unwrap_or_default()
    }

    /// The first key whose value differs from the volume's.
    pub(super) fn mismatch(&self, record: &VolumeRecord) -> Option<&'static str> {
        fn differs<T: PartialEq>(given: Option<&T>, has: &T) -> bool {
            given.is_some_and(|given| given != has)
        }
        [
            (TEMPLATE, differs(self.template.as_ref(), &record.template)),
            (COW_LIMIT, self.cow_limit.is_some() && !is_same_limit(self.cow_limit, record)),
            // A copy has the chunks of its source, whatever its class says.
            (
                CHUNK_SIZE,
                record.source.is_none() && differs(self.chunk_size.as_ref(), &record.chunk_size),
            ),
            (DURABILITY, differs(self.durability.as_ref(), &record.durability)),
            (RESERVE, differs(self.reserve.as_ref(), &record.reserve)),
            (DEVICE_UID, differs(self.uid.as_ref(), &record.owner.uid)),
            (DEVICE_GID, differs(self.gid.as_ref(), &record.owner.gid)),
            (DEVICE_MODE, differs(self.mode.as_ref(), &record.owner.mode)),
            (KATA_DIRECT, differs(self.kata_direct.as_ref(), &record.kata_direct)),
        ]
        .into_iter()
        .find_map(|(key, differs)| differs.then_some(key))
    }
}

impl Origin {
    fn field(self) -> &'static str {
        match self {
            Self::Parameters => "parameters",
            Self::Context | Self::Inline => "volume_context",
        }
    }
}

/// The `volume_context` of a volume: its parameters, for people who inspect the PersistentVolume.
/// Node calls use the pool's record.
pub(super) fn context(record: &VolumeRecord) -> HashMap<String, String> {
    let durability = match record.durability {
        Durability::Ephemeral => "ephemeral",
        Durability::Durable => "durable",
    };
    let mut context = HashMap::from([
        (TEMPLATE.to_owned(), record.template.clone()),
        (CHUNK_SIZE.to_owned(), record.chunk_size.to_string()),
        (DURABILITY.to_owned(), durability.to_owned()),
    ]);
    if record.reserve == Reserve::Full {
        context.insert(RESERVE.to_owned(), "full".to_owned());
    }
    if let Some(limit) = record.cow_limit {
        context.insert(COW_LIMIT.to_owned(), limit.to_string());
    }
    if record.kata_direct {
        context.insert(KATA_DIRECT.to_owned(), "true".to_owned());
    }
    let NodeOwner { uid, gid, mode } = record.owner;
    if record.owner != NodeOwner::default() {
        context.insert(DEVICE_UID.to_owned(), uid.to_string());
        context.insert(DEVICE_GID.to_owned(), gid.to_string());
        context.insert(DEVICE_MODE.to_owned(), format!("{mode:04o}"));
    }
    context
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use proptest::prelude::*;

    fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    fn spec(origin: Origin, pairs: &[(&str, &str)]) -> Result<VolumeSpec> {
        Parameters::parse(origin, &map(pairs))?.into_spec(origin, "v", None)
    }

    #[test]
    fn defaults_are_those_of_the_engine() {
        assert_eq!(
            spec(Origin::Parameters, &[("template", "base")]).unwrap(),
            VolumeSpec::new("v", "base")
        );
    }

    #[test]
    fn every_parameter_reaches_the_volume() {
        let given = [
            ("template", "base"),
            ("size", "10Gi"),
            ("cowLimit", "1Gi"),
            ("chunkSize", "16Ki"),
            ("durability", "durable"),
            ("deviceUid", "1000"),
            ("deviceGid", "1001"),
            ("deviceMode", "0660"),
            ("kataDirectVolume", "true"),
            ("reserve", "full"),
            ("csi.storage.k8s.io/ephemeral", "true"),
            ("csi.storage.k8s.io/serviceAccount.tokens", "{secret}"),
            ("csi.storage.k8s.io/pod.name", "p"),
            ("storage.kubernetes.io/csiProvisionerIdentity", "1-2-x"),
        ];
        assert_eq!(
            spec(Origin::Inline, &given).unwrap(),
            VolumeSpec {
                id: "v".into(),
                template: "base".into(),
                source: None,
                size: Some(10 << 30),
                cow_limit: Some(1 << 30),
                chunk_size: 16 << 10,
                durability: Durability::Durable,
                owner: NodeOwner { uid: 1000, gid: 1001, mode: 0o660 },
                reserve: Reserve::Full,
                ttl: None,
                inline: true,
                kata_direct: true,
            }
        );
    }

    #[test]
    fn bad_values_are_refused_by_name() {
        for (key, value) in [
            ("template", ""),
            ("size", "0"),
            ("size", "ten"),
            ("cowLimit", "0"),
            ("cowLimit", "-1"),
            ("chunkSize", "2Ki"),
            ("chunkSize", "5000"),
            ("chunkSize", "2Mi"),
            ("reserve", "half"),
            ("reserve", ""),
            ("durability", "Durable"),
            ("durability", ""),
            ("deviceUid", "root"),
            ("deviceUid", "+1"),
            ("deviceUid", "4294967295"),
            ("deviceGid", "-1"),
            ("deviceMode", "0999"),
            ("deviceMode", "4777"),
            ("deviceMode", "1777"),
            ("deviceMode", ""),
            ("deviceMode", "+660"),
            ("kataDirectVolume", "yes"),
            ("kataDirectVolume", ""),
            ("Template", "base"),
            ("fsType", "ext4"),
        ] {
            let error = spec(Origin::Inline, &[("template", "base"), (key, value)]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{key}={value}");
            assert!(error.report().contains(key), "{}", error.report());
        }
    }

    #[test]
    fn unknown_keys_name_the_known_ones_and_hide_the_value() {
        let error = spec(Origin::Parameters, &[("password", "hunter2")]).unwrap_err();
        let report = error.report();
        assert!(report.contains("\"password\"") && report.contains(ALLOWED), "{report}");
        assert!(!report.contains("hunter2"), "{report}");
    }

    #[test]
    fn a_storage_class_names_a_template_and_no_size() {
        assert!(spec(Origin::Parameters, &[]).unwrap_err().report().contains("template"));
        let error = spec(Origin::Parameters, &[("template", "t"), ("size", "1Gi")]).unwrap_err();
        assert!(error.report().contains("claim"), "{}", error.report());
    }

    fn record(limit: Option<u64>, durability: Durability, owner: NodeOwner) -> VolumeRecord {
        VolumeRecord {
            template_size: 4096,
            size: 4096,
            cow_limit: limit,
            chunk_size: 8192,
            durability,
            owner,
            ..crate::pool::sample::volume()
        }
    }

    #[test]
    fn a_mismatch_is_named() {
        let record = record(Some(8192), Durability::Durable, NodeOwner::default());
        let mismatch = |key: &str, value: &str| {
            Parameters::parse(Origin::Parameters, &map(&[(key, value)])).unwrap().mismatch(&record)
        };
        for (key, same, other) in [
            ("template", "base", "other"),
            ("cowLimit", "5000", "9000"),
            ("chunkSize", "8Ki", "4Ki"),
            ("durability", "durable", "ephemeral"),
            ("reserve", "none", "full"),
            ("deviceUid", "0", "1"),
            ("deviceGid", "0", "1"),
            ("deviceMode", "600", "0660"),
            ("kataDirectVolume", "false", "true"),
        ] {
            assert_eq!(mismatch(key, same), None, "{key}");
            assert_eq!(mismatch(key, other), Some(key));
        }
    }

    proptest! {
        #[test]
        fn a_context_describes_its_volume(
            limit in proptest::option::of(1..1_u64 << 40),
            durable in any::<bool>(),
            (uid, gid, mode) in (0..u32::MAX, 0..u32::MAX, 0..=0o777_u32),
        ) {
            let durability = if durable { Durability::Durable } else { Durability::Ephemeral };
            let record = record(limit, durability, NodeOwner { uid, gid, mode });
            let parsed = Parameters::parse(Origin::Context, &context(&record)).unwrap();
            prop_assert_eq!(parsed.mismatch(&record), None);
            let spec = parsed.into_spec(Origin::Context, "v", None).unwrap();
            prop_assert_eq!(spec.owner, record.owner);
            prop_assert_eq!(spec.cow_limit, record.cow_limit);
        }

        #[test]
        fn no_value_makes_the_parser_panic(key in "[a-zA-Z]{0,9}", value in "\\PC{0,20}") {
            for key in [key.as_str(), "size", "cowLimit", "chunkSize", "deviceUid", "deviceMode"] {
                let _ = spec(Origin::Inline, &[(key, &value)]);
            }
        }
    }
}
