//! The option `snapshots`: csi-snapshotter on each node, what it may do, and the classes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::helm::{Objects, id, list, notes, read, render, text};

const ON: &str = "snapshots: {enabled: true}";

fn containers(objects: &Objects) -> Vec<&str> {
    objects.containers().map(|container| text(&container["name"])).collect()
}

/// Resources of a group with the verbs that the driver's account has on all of them in the cluster.
fn rights<'a>(objects: &'a Objects, group: &str) -> Vec<(&'a str, Vec<&'a str>)> {
    list(&objects.one("ClusterRole")["rules"])
        .iter()
        .filter(|rule| rule["apiGroups"] == json!([group]))
        .flat_map(|rule| {
            let verbs: Vec<&str> = list(&rule["verbs"]).iter().map(text).collect();
            list(&rule["resources"]).iter().map(move |it| (text(it), verbs.clone()))
        })
        .collect()
}

/// Without the CRDs, which many clusters lack, csi-snapshotter does not run.
pub(crate) fn are_off_by_default() {
    let objects = render("{}");
    assert!(!containers(&objects).contains(&"snapshotter"));
    assert_eq!(objects.all("VolumeSnapshotClass").count(), 0);
    assert_eq!(rights(&objects, "snapshot.storage.k8s.io"), []);
    assert!(objects.arguments("provisioner").contains(&"--snapshot-orphan-sweep-interval=0"));
    assert!(!notes("{}").contains("snapshot-controller"));
}

pub(crate) fn are_taken_on_each_node_by_its_own_sidecar() {
    let objects =
        render("{snapshots: {enabled: true}, snapshotter: {timeout: 90s, kubeApiQps: 7}}");
    let arguments = objects.arguments("snapshotter");
    for argument in [
        "--csi-address=/csi/csi.sock",
        "--node-deployment",
        "--timeout=90s",
        "--kube-api-qps=7",
        "--kube-api-burst=14",
        "--feature-gates=CSIVolumeGroupSnapshot=false",
    ] {
        assert!(arguments.contains(&argument), "{argument} in {arguments:?}");
    }
    // It refuses to elect a leader on nodes.
    assert!(!arguments.iter().any(|argument| argument.starts_with("--leader-election")));
    let node = &objects.container("snapshotter")["env"][0];
    assert_eq!(node["name"], "NODE_NAME");
    assert_eq!(node["valueFrom"]["fieldRef"]["fieldPath"], "spec.nodeName");
    let sweeps = |argument: &&str| argument.starts_with("--snapshot-orphan-sweep-interval");
    assert_eq!(objects.arguments("provisioner").iter().copied().find(sweeps), None);

    let said = notes(ON);
    for word in ["--enable-distributed-snapshotting", "VolumeSnapshotClass calf", "no CRDs"] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

pub(crate) fn need_few_rights() {
    assert_eq!(
        rights(&render(ON), "snapshot.storage.k8s.io"),
        [
            ("volumesnapshotclasses", vec!["get", "list", "watch"]),
            ("volumesnapshotcontents", vec!["get", "list", "watch", "patch"]),
            ("volumesnapshotcontents/status", vec!["update", "patch"]),
            ("volumesnapshots", vec!["get", "list", "watch", "update"]),
        ]
    );
}

/// A node's token may only write of its own snapshots, and only handles that lead to them.
pub(crate) fn are_held_to_the_node() {
    let objects = render("{driverName: my.driver.example, snapshots: {enabled: true}}");
    let spec =
        |kind: &str| &objects.named("ValidatingAdmissionPolicy", &format!("calf-{kind}"))["spec"];
    let contents = spec("volumesnapshotcontents").to_string();
    for word in [
        "snapshot.storage.kubernetes.io/managed-by",
        "content.spec.driver == 'my.driver.example'",
        "variables.handle.startsWith(variables.node + '/')",
        "object.spec == oldObject.spec",
    ] {
        assert!(contents.contains(word), "{word}: {contents}");
    }
    let rule = &spec("volumesnapshotcontents")["matchConstraints"]["resourceRules"][0];
    assert_eq!(
        rule["resources"],
        json!(["volumesnapshotcontents", "volumesnapshotcontents/status"])
    );
    let snapshots = spec("volumesnapshots").to_string();
    assert!(snapshots.contains("volumesnapshot-as-source-protection"), "{snapshots}");
    let bound: BTreeSet<&str> = objects
        .all("ValidatingAdmissionPolicyBinding")
        .map(|binding| text(&binding["spec"]["policyName"]))
        .collect();
    let policies: BTreeSet<&str> = objects.all("ValidatingAdmissionPolicy").map(id).collect();
    assert_eq!((bound.len(), &bound), (5, &policies));
}

pub(crate) fn have_the_classes_that_are_asked_for() {
    let objects = render(ON);
    let class = objects.one("VolumeSnapshotClass");
    assert_eq!(id(class), "calf");
    assert_eq!(class["driver"], id(objects.one("CSIDriver")));
    assert_eq!((&class["deletionPolicy"], &class["parameters"]), (&json!("Delete"), &Value::Null));
    assert_eq!(class["metadata"]["annotations"], Value::Null);

    let objects = render(
        "{driverName: my.driver.example, snapshots: {enabled: true, classes: [{name: plain}, \
         {name: frozen, deletionPolicy: Retain, isDefault: true, \
          parameters: {consistency: file-system}}]}}",
    );
    let plain = objects.named("VolumeSnapshotClass", "plain");
    assert_eq!(
        (&plain["driver"], &plain["deletionPolicy"]),
        (&json!("my.driver.example"), &json!("Delete"))
    );
    let frozen = objects.named("VolumeSnapshotClass", "frozen");
    assert_eq!(frozen["deletionPolicy"], "Retain");
    assert_eq!(frozen["parameters"], json!({ "consistency": "file-system" }));
    let default = "snapshot.storage.kubernetes.io/is-default-class";
    assert_eq!(frozen["metadata"]["annotations"][default], "true");
    // Whoever makes classes in another way gets none from here.
    let none = render("snapshots: {enabled: true, classes: []}");
    assert_eq!(none.all("VolumeSnapshotClass").count(), 0);
}

/// A name that the chart does not create would leave a reader's claim pending.
pub(crate) fn are_documented_with_names_that_the_chart_makes() {
    let documentation = read("docs/snapshots.md");
    let objects = render(ON);
    let driver = id(objects.one("CSIDriver"));
    let mut found = BTreeSet::new();
    for block in documentation.split("```yaml\n# ").skip(1) {
        let (name, manifest) = block.split_once('\n').expect("a name");
        let manifest = manifest.split("```").next().unwrap_or_default();
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(manifest).unwrap_or_else(|e| panic!("{name}: {e}"));
        for object in &documents {
            let spec = &object["spec"];
            match text(&object["kind"]) {
                "PersistentVolumeClaim" => {
                    let class = text(&spec["storageClassName"]);
                    assert_eq!(id(objects.named("StorageClass", class)), class, "{name}");
                }
                "VolumeSnapshotContent" => assert_eq!(spec["driver"], driver, "{name}"),
                "VolumeSnapshot" => {
                    if let Some(class) = spec["volumeSnapshotClassName"].as_str() {
                        assert_eq!(
                            id(objects.named("VolumeSnapshotClass", class)),
                            class,
                            "{name}"
                        );
                    }
                }
                kind => panic!("{name}: {kind}"),
            }
        }
        found.insert(name.to_owned());
    }
    let all = ["adopt.yaml", "clone.yaml", "restore.yaml", "snapshot.yaml"];
    assert_eq!(found, all.map(String::from).into());
}
