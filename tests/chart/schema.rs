//! Which values the chart accepts and refuses: the limits of `values.schema.json`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::helm::{read, render, try_render, yaml};

/// Values, and a text that the refusal must contain.
const REFUSED: &[(&str, &str)] = &[
    ("unknown: 1", "unknown"),
    ("pool: {pth: /srv}", "pth"),
    ("storageClasses: {third: {create: true}}", "third"),
    ("storageClasses: {ephemeral: {parameters: {cowlimit: 1Gi}}}", "cowlimit"),
    // The class sets these itself.
    ("storageClasses: {ephemeral: {parameters: {durability: durable}}}", "durability"),
    ("kubeletDir: var/lib/kubelet", "kubeletDir"),
    ("kubeletDir: /var/lib/kubelet/", "kubeletDir"),
    ("kubeletDir: ''", "kubeletDir"),
    ("pool: {path: /}", "path"),
    ("pool: {path: /var/../etc}", "path"),
    ("pool: {path: '/a b'}", "path"),
    ("pool: {reserve: 1.5Gi}", "reserve"),
    ("pool: {reserve: 1GB}", "reserve"),
    ("pool: {reserve: 5}", "reserve"),
    ("pool: {overcommitRatio: 0}", "overcommitRatio"),
    ("pool: {overcommitRatio: half}", "overcommitRatio"),
    ("pool: {maxKernelMemory: much}", "maxKernelMemory"),
    ("pool: {kcopydSubjobSize: small}", "kcopydSubjobSize"),
    ("pool: {fallback: thin}", "fallback"),
    ("driverName: Calf.example", "driverName"),
    ("driverName: calf_example", "driverName"),
    ("driverName: ''", "driverName"),
    ("driverName: calf..example", "driverName"),
    ("image: {digest: 'sha256:abc'}", "digest"),
    ("image: {pullPolicy: Sometimes}", "pullPolicy"),
    ("image: {repository: ''}", "repository"),
    ("templates: [{name: base}]", "source"),
    ("templates: [{source: /srv/base.img}]", "name"),
    ("templates: [{name: scratch, empty: ext4}]", "size"),
    ("templates: [{name: scratch, empty: xfs, size: 64Mi}]", "empty"),
    ("templates: [{name: scratch, empty: ext4, size: 64Mi, source: /srv/a.img}]", "templates"),
    ("templates: [{name: ../base, source: /srv/base.img}]", "name"),
    ("templates: [{name: base, source: base.img}]", "source"),
    ("templates: [{name: app, source: 'docker://ghcr.io/app', format: zip}]", "format"),
    ("templates: [{name: app, source: 'docker://ghcr.io/app', platform: amd64}]", "platform"),
    ("templates: [{name: app, source: 'docker://ghcr.io/app', size: large}]", "size"),
    ("templates: [{name: app, source: 'docker://ghcr.io/app', refresh: often}]", "refresh"),
    ("templates: [{name: base, source: 'ftp://images.example/base.img', sha256: SUM}]", "source"),
    // The driver would not start.
    (
        "templates: [{name: base, source: 'https://me:secret@images.example/base.img', sha256: SUM}]",
        "source",
    ),
    (
        "templates: [{name: base, source: 'https://images.example/<base>.img', sha256: SUM}]",
        "source",
    ),
    // Without a digest, whoever controls the URL would decide what boots.
    ("templates: [{name: base, source: 'https://images.example/base.img'}]", "sha256"),
    ("templates: [{name: base, source: /srv/base.img, sha256: abc}]", "sha256"),
    ("templates: [{name: base, source: /srv/base.img, partition: 1}]", "partition"),
    ("templates: [{name: base, source: /srv/base.img, partition: ''}]", "partition"),
    ("templates: [{name: base, source: /srv/base.img, warm: 257}]", "warm"),
    ("templates: [{name: base, source: /srv/base.img, warm: '2'}]", "warm"),
    ("templates: [{name: base, source: /srv/base.img, digest: SUM}]", "digest"),
    ("templates: {base: /srv/base.img}", "templates"),
    // Combinations of two values.
    ("templates: [{name: base, source: /srv/base.img}]", "templateImages.path"),
    (
        "{templateImages: {volumes: [{name: a, reference: r/a}]}, \
         templates: [{name: base, source: /image-volumes/b/disk.img}]}",
        "is in no image of templateImages.volumes",
    ),
    ("templateImages: {volumes: [{name: A, reference: r/a}]}", "name"),
    ("templateImages: {volumes: [{name: a, reference: 'docker://r/a'}]}", "reference"),
    ("templateImages: {volumes: [{name: a}]}", "reference"),
    ("templateImages: {volumes: [{name: a, reference: r/a, pullPolicy: Sometimes}]}", "pullPolicy"),
    (
        "{templateImages: {path: /srv/images}, templates: [{name: base, source: /srv/base.img}]}",
        "not below templateImages.path",
    ),
    (
        "{templateImages: {path: /srv}, templates: [{name: a, source: /srv/a}, {name: a, source: /srv/b}]}",
        "twice",
    ),
    ("serviceAccount: {create: false}", "serviceAccount.name"),
    ("storageClasses: {ephemeral: {name: Quick}}", "name"),
    ("storageClasses: {ephemeral: {template: ''}}", "template"),
    ("storageClasses: {ephemeral: {reclaimPolicy: Recycle}}", "reclaimPolicy"),
    ("storageClasses: {ephemeral: {isDefault: 'yes'}}", "isDefault"),
    ("storageClasses: {ephemeral: {parameters: {chunkSize: 3Ki}}}", "chunkSize"),
    ("storageClasses: {ephemeral: {parameters: {reserve: half}}}", "reserve"),
    ("storageClasses: {ephemeral: {parameters: {cowLimit: 0Gi}}}", "cowLimit"),
    ("storageClasses: {ephemeral: {parameters: {deviceMode: '4755'}}}", "deviceMode"),
    ("storageClasses: {ephemeral: {parameters: {deviceMode: '0888'}}}", "deviceMode"),
    // A number would be rendered as 1e+06.
    ("storageClasses: {ephemeral: {parameters: {deviceUid: 1000000}}}", "deviceUid"),
    ("storageClasses: {ephemeral: {cowLimit: '0'}}", "cowLimit"),
    ("inlineVolumes: {enabled: 'yes'}", "enabled"),
    ("inlineVolumes: {maxSize: large}", "maxSize"),
    // Below the largest chunk.
    ("inlineVolumes: {maxCowLimit: 512Ki}", "maxCowLimit"),
    ("inlineVolumes: {allow: [root]}", "allow"),
    ("inlineVolumes: {templates: ['a*b']}", "templates"),
    ("inlineVolumes: {templates: base}", "templates"),
    ("snapshots: {enabled: 'yes'}", "enabled"),
    ("snapshots: {classes: [{deletionPolicy: Delete}]}", "name"),
    ("snapshots: {classes: [{name: Big}]}", "name"),
    ("snapshots: {classes: [{name: a, deletionPolicy: Keep}]}", "deletionPolicy"),
    ("snapshots: {classes: [{name: a, parameters: {consistency: none}}]}", "consistency"),
    ("snapshots: {classes: [{name: a, parameters: {template: base}}]}", "template"),
    ("snapshotter: {workerThreads: 0}", "workerThreads"),
    ("csiDriver: {fsGroupPolicy: Always}", "fsGroupPolicy"),
    ("parallelImports: 0", "parallelImports"),
    ("minDownloadRate: fast", "minDownloadRate"),
    ("maxVolumesPerNode: -1", "maxVolumesPerNode"),
    ("maxVolumesPerNode: many", "maxVolumesPerNode"),
    ("maxVolumeSize: large", "maxVolumeSize"),
    ("pool: {guard: {low: 100%}}", "low"),
    ("pool: {guard: {resume: some}}", "resume"),
    ("maxVolumeSize: 100", "maxVolumeSize"),
    ("drainTimeoutSeconds: 0", "drainTimeoutSeconds"),
    ("reconcileInterval: 5", "reconcileInterval"),
    ("drainTimeoutSeconds: 30s", "drainTimeoutSeconds"),
    ("log: {format: xml}", "format"),
    ("metrics: {port: 0}", "port"),
    ("metrics: {port: 65536}", "port"),
    ("metrics: {bindAddress: '::'}", "bindAddress"),
    ("metrics: {bindAddress: localhost}", "bindAddress"),
    // Only the pod itself could reach its readiness probe.
    ("probes: {bindAddress: 127.0.0.1}", "bindAddress"),
    ("probes: {bindAddress: '[::1]'}", "bindAddress"),
    ("{livenessProbe: {enabled: true}, metrics: {port: 9808}}", "livenessProbe.port"),
    ("registrar: {enabled: 1}", "enabled"),
    ("probes: {port: 9810}", "metrics.port"),
    ("networkPolicy: {scrapers: [{}]}", "scrapers"),
    ("networkPolicy: {scrapers: [{namespace: monitoring}]}", "namespace"),
    ("metrics: {podMonitor: {enabled: true}}", "networkPolicy.scrapers"),
    ("metrics: {podMonitor: {interval: 30}}", "interval"),
    ("metrics: {prometheusRule: {job: 'a\"b'}}", "job"),
    ("updateStrategy: {maxUnavailable: 0}", "maxUnavailable"),
    ("updateStrategy: {maxUnavailable: 0%}", "maxUnavailable"),
    ("updateStrategy: {maxUnavailable: 101%}", "maxUnavailable"),
    ("tolerations: [{operator: Sometimes}]", "operator"),
    ("kata: {enabled: 1}", "enabled"),
    ("kernelModules: {path: lib/modules}", "path"),
    ("resizer: {leaderElection: {leaseDuration: 60}}", "leaseDuration"),
    ("provisioner: {workerThreads: 0}", "workerThreads"),
    ("livenessProbe: {image: {tag: ''}}", "tag"),
    ("resources: {request: {cpu: 1}}", "request"),
    ("moreStorageClasses: [{name: fast}]", "template"),
    ("moreStorageClasses: [{name: fast, template: base, durability: none}]", "durability"),
    ("moreStorageClasses: [{name: fast, template: base, parameters: {template: x}}]", "template"),
    ("moreStorageClasses: [{name: fast, template: base, nodes: []}]", "nodes"),
    // It would run on the nodes of all groups.
    ("nodeGroups: [{name: big}]", "nodeSelector"),
    ("nodeGroups: [{name: Big, nodeSelector: {a: b}}]", "name"),
    ("nodeGroups: [{name: big, nodeSelector: {a: b}, pool: {pth: /srv}}]", "pth"),
    // One for all nodes.
    ("nodeGroups: [{name: big, nodeSelector: {a: b}, driverName: other.example}]", "driverName"),
    ("nodeGroups: [{name: a, nodeSelector: {a: b}}, {name: a, nodeSelector: {a: c}}]", "twice"),
];

const TAKEN: &[&str] = &[
    "{}",
    "global: {anything: true}",
    "pool: {reserve: '0'}",
    "pool: {fallback: copy}",
    "pool: {overcommitRatio: 1, maxKernelMemory: 512Mi}",
    "updateStrategy: {maxUnavailable: 100%}",
    "updateStrategy: {maxUnavailable: 3}",
    "metrics: {bindAddress: '[::]', port: 65535}",
    "metrics: {bindAddress: 10.0.0.127}",
    "drainTimeoutSeconds: 3600",
    "templates: [{name: app, source: 'docker://ghcr.io/team/app:1.2', platform: linux/arm64, size: 4Gi, refresh: 1h 30m}]",
    "templates: [{name: scratch, empty: ext4, size: 64Mi, warm: 4}]",
    "templates: [{name: app, source: 'docker://localhost:5000/app', format: oci}]",
    "templates: [{name: Debian_12.5, source: 'http://images.example/a%20b.img', sha256: SUM}]",
    "{templateImages: {path: /srv}, templates: [{name: base, source: /srv/a/base.img, sha256: SUM}]}",
    "{templateImages: {path: /srv}, templates: [{name: base, source: /srv/a.raw.xz, partition: '1'}]}",
    "storageClasses: {durable: {parameters: {chunkSize: 1Mi, deviceMode: '0660', kataDirectVolume: 'true'}}}",
    "templates: [{name: base, source: 'http://[fd00::1]:8080/a/b.img?x=1&sig=a%2Fb+c==', sha256: SUM}]",
    "storageClasses: {durable: {parameters: {cowLimit: 10Gi, deviceMode: '660'}}}",
    "inlineVolumes: {enabled: true, maxSize: 1Gi, maxCowLimit: 1Mi, allow: [durable], templates: ['*', a.b-c]}",
    "storageClasses: {ephemeral: {parameters: null}}",
    "snapshots: {enabled: true, classes: [{name: a.b, parameters: {consistency: crash}}]}",
    "tolerations: []",
    "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}}",
    "serviceAccount: {create: false, name: mine}",
    "resources: {limits: {memory: 1Gi, cpu: 2}}",
    "{metrics: {podMonitor: {enabled: true, interval: 1m30s, labels: {release: prometheus}}}, \
     networkPolicy: {scrapers: [{namespaceSelector: {}, podSelector: {}}]}}",
    "{metrics: {podMonitor: {enabled: true}}, networkPolicy: {enabled: false}}",
];

pub(crate) fn wrong_values_are_refused() {
    for (values, named) in REFUSED {
        match try_render("calf", &filled(values)) {
            Ok(_) => panic!("taken: {values}"),
            Err(said) => assert!(said.contains(named), "{values}: {said}"),
        }
    }
}

pub(crate) fn right_values_are_taken() {
    for values in TAKEN {
        render(&filled(values));
    }
}

fn filled(values: &str) -> String {
    values.replace("SUM", &"f".repeat(64))
}

/// A value without an entry in the schema could not be set, and an entry without a value has no
/// documentation.
pub(crate) fn every_value_has_a_type() {
    let schema: Value = schema();
    let values = yaml(&read("charts/calf/values.yaml"));
    same_keys(&schema, &schema, &values, "");
}

fn schema() -> Value {
    serde_json::from_str(&read("charts/calf/values.schema.json")).expect("JSON")
}

fn same_keys(schema: &Value, at: &Value, values: &Value, path: &str) {
    let at = match at["$ref"].as_str() {
        Some(reference) => &schema["$defs"][reference.trim_start_matches("#/$defs/")],
        None => at,
    };
    let (Some(properties), Some(values)) = (at["properties"].as_object(), values.as_object())
    else {
        return;
    };
    // Objects that a user fills in freely have properties from Kubernetes or calf, but no defaults.
    if values.is_empty() || path.ends_with("resources") || path.ends_with("affinity") {
        return;
    }
    assert_eq!(at["additionalProperties"], false, "{path}");
    let known: BTreeSet<&String> = properties.keys().filter(|key| *key != "global").collect();
    assert_eq!(known, values.keys().collect(), "{path}");
    for (key, value) in values {
        same_keys(schema, &properties[key], value, &format!("{path}.{key}"));
    }
}

/// A group may give a part of a value that is a map, and any part of it.
pub(crate) fn a_group_may_set_all_of_a_value() {
    let schema = schema();
    let group = schema["$defs"]["nodeGroup"]["properties"].as_object().expect("properties");
    for (value, of_group) in group.iter().filter(|(value, _)| *value != "name") {
        let of_chart = &schema["properties"][value];
        match (of_chart["properties"].as_object(), of_group["properties"].as_object()) {
            (Some(all), Some(some)) => {
                assert!(all.keys().eq(some.keys()), "{value}");
                assert_eq!(of_group["required"], Value::Null, "{value}");
            }
            _ => assert_eq!(of_group["$ref"], format!("#/properties/{value}"), "{value}"),
        }
    }
}

/// The schema accepts the parameters that docs/parameters.md lists.
pub(crate) fn every_parameter_is_known() {
    let documented = read("docs/parameters.md");
    let table = documented.split("\n## ").find(|part| part.starts_with("StorageClass parameters"));
    // The tables in its sections are about other things.
    let table = table.and_then(|chapter| chapter.split("\n### ").next());
    let documented: Vec<&str> = table
        .expect("the chapter on parameters")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        // Set by the class itself, or for inline volumes only.
        .filter(|key| !["template", "durability", "size", "ephemeral"].contains(key))
        .collect();
    let schema = schema();
    let known = schema["$defs"]["volumeParameters"]["properties"].as_object().expect("properties");
    assert!(documented.len() >= 5, "{documented:?}");
    for parameter in documented {
        assert!(known.contains_key(parameter), "{parameter} is unknown to the schema");
    }
}
