//! How values change the rendered objects.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::helm::{Objects, id, list, notes, render, text, try_render};

const SIDECARS: [&str; 5] =
    ["registrar", "provisioner", "resizer", "snapshotter", "liveness-probe"];
/// All sidecars, three of which are off by default.
const ALL_SIDECARS: &str =
    "{registrar: {enabled: true}, livenessProbe: {enabled: true}, snapshots: {enabled: true}}";

pub(crate) fn defaults_render_every_object() {
    let objects = render("{}");
    assert_eq!(
        objects.names(),
        [
            "CSIDriver/calf.csi.dev",
            "ClusterRole/calf",
            "ClusterRoleBinding/calf",
            "DaemonSet/calf",
            "NetworkPolicy/calf",
            "Pod/calf-test",
            "Role/calf",
            "RoleBinding/calf",
            "ServiceAccount/calf",
            "StorageClass/calf-durable",
            "StorageClass/calf-ephemeral",
            "ValidatingAdmissionPolicy/calf-csistoragecapacities",
            "ValidatingAdmissionPolicy/calf-persistentvolumeclaims",
            "ValidatingAdmissionPolicy/calf-persistentvolumes",
            "ValidatingAdmissionPolicyBinding/calf-csistoragecapacities",
            "ValidatingAdmissionPolicyBinding/calf-persistentvolumeclaims",
            "ValidatingAdmissionPolicyBinding/calf-persistentvolumes",
        ]
    );
    assert_eq!(
        objects.one("CSIDriver")["spec"],
        json!({
            "volumeLifecycleModes": ["Persistent"],
            "attachRequired": false,
            "podInfoOnMount": true,
            "storageCapacity": true,
            "fsGroupPolicy": "None",
        })
    );
    assert_eq!(objects.pod()["priorityClassName"], "system-node-critical");
    assert_eq!(objects.pod()["terminationGracePeriodSeconds"], 40);
}

pub(crate) fn sidecars_have_no_rights() {
    let objects = render(ALL_SIDECARS);
    for name in SIDECARS.into_iter().chain(["udev-rules"]) {
        let context = &objects.container(name)["securityContext"];
        assert_eq!(context["capabilities"], json!({ "drop": ["ALL"] }), "{name}");
        assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
    }
    let modules = &objects.container("kernel-modules")["securityContext"];
    assert_eq!(modules["capabilities"], json!({ "drop": ["ALL"], "add": ["SYS_MODULE"] }));
    let privileged = |container: &&Value| container["securityContext"]["privileged"] == true;
    let privileged: Vec<&str> =
        objects.containers().filter(privileged).map(|container| text(&container["name"])).collect();
    assert_eq!(privileged, ["calf"]);
}

pub(crate) fn the_driver_gets_what_the_values_say() {
    let objects = render(
        "{driverName: other.example, pool: {path: /srv/pool, reserve: 1Gi, fallback: reflink, \
         overcommitRatio: 2.5, maxKernelMemory: 4Gi, kcopydSubjobSize: 64Ki, \
         guard: {low: 5%, resume: 6Gi}}, \
         kubeletDir: /data/kubelet, maxVolumesPerNode: 300, maxVolumeSize: 200Gi, \
         drainTimeoutSeconds: 100, reconcileInterval: 1h30m, \
         log: {level: debug, format: json}, metrics: {port: 9999, bindAddress: '[::]'}, \
         kubernetesEvents: false, image: {repository: r.example/calf, tag: v9}}",
    );
    let arguments = objects.arguments("calf");
    for argument in [
        "--driver-name=other.example",
        "--max-volumes-per-node=300",
        "--max-volume-size=200Gi",
        "--kcopyd-subjob-size=64Ki",
        "--guard-low=5%",
        "--guard-resume=6Gi",
        "--kubelet-dir=/data/kubelet",
        "--drain-timeout=100s",
        "--reconcile-interval=1h30m",
        "--log-format=json",
        "--metrics-address=[::]:9999",
        "--probe-address=0.0.0.0:9811",
    ] {
        assert!(arguments.contains(&argument), "{argument} in {arguments:?}");
    }
    assert!(!arguments.contains(&"--kubernetes-events"));
    let unasked = render("{}");
    let unasked = unasked.arguments("calf");
    assert!(unasked.iter().all(|argument| !argument.starts_with("--kcopyd-subjob-size")));
    // In the environment, so that commands in the container get the same values.
    assert_eq!(environment(&objects, "CALF_POOL"), "/srv/pool");
    assert_eq!(environment(&objects, "CALF_RESERVE"), "1Gi");
    assert_eq!(environment(&objects, "CALF_OVERCOMMIT_RATIO"), "2.5");
    assert_eq!(environment(&objects, "CALF_MAX_KERNEL_MEMORY"), "4Gi");
    assert_eq!(environment(&objects, "CALF_FALLBACK"), "reflink");
    assert_eq!(environment(&objects, "RUST_LOG"), "warn,calf=debug");
    let filter = render("log: {level: 'calf=debug,h2=info'}");
    assert_eq!(environment(&filter, "RUST_LOG"), "calf=debug,h2=info");
    assert_eq!(objects.container("calf")["image"], "r.example/calf:v9");
    assert_eq!(objects.pod()["terminationGracePeriodSeconds"], 110);
    assert_eq!(id(objects.one("CSIDriver")), "other.example");
    assert!(arguments.contains(&"--endpoint=unix:///data/kubelet/plugins/other.example/csi.sock"));

    let digest = format!("sha256:{}", "a".repeat(64));
    let by_digest = render(&format!("image: {{repository: r.example/calf, digest: '{digest}'}}"));
    assert_eq!(by_digest.container("calf")["image"], format!("r.example/calf@{digest}"));
}

const TEMPLATES: &str = "templateImages: {path: /srv/images}\n\
                         templates:\n\
                         - {name: base, source: /srv/images/base.img, warm: 12}\n\
                         - {name: web, source: 'https://images.example/web.img', sha256: SUM}\n";

fn templates() -> String {
    TEMPLATES.replace("SUM", &"f".repeat(64))
}

pub(crate) fn templates_reach_the_driver() {
    let objects = render(&templates());
    let file = text(&objects.named("ConfigMap", "calf-templates")["data"]["templates.json"]);
    assert_eq!(
        serde_json::from_str::<Value>(file).expect("JSON"),
        json!({ "templates": [
            { "name": "base", "source": "/srv/images/base.img", "warm": 12 },
            { "name": "web", "source": "https://images.example/web.img", "sha256": "f".repeat(64) },
        ] })
    );
    assert!(objects.arguments("calf").contains(&"--templates=/etc/calf/templates.json"));
    let fewer = render(&format!("{}parallelImports: 1\nminDownloadRate: 1Mi\n", templates()));
    assert!(fewer.arguments("calf").contains(&"--parallel-imports=1"));
    assert_eq!(environment(&fewer, "CALF_MIN_DOWNLOAD_RATE"), "1Mi");
    assert_eq!(host_path(&objects, "template-images"), "/srv/images");
}

pub(crate) fn kubelet_mounts_images_for_the_driver() {
    let objects = render(
        "templateImages: {volumes: [{name: fedora, reference: 'quay.io/containerdisks/fedora:41'},\n\
         {name: app, reference: 'registry.example:5000/app:1', pullPolicy: Always}]}\n\
         templates: [{name: fedora, source: /image-volumes/fedora/disk/fedora.qcow2, partition: root}]",
    );
    let pod = &objects.one("DaemonSet")["spec"]["template"]["spec"];
    let images: Vec<&Value> =
        list(&pod["volumes"]).iter().filter(|volume| !volume["image"].is_null()).collect();
    assert_eq!(
        images,
        [
            &json!({ "name": "image-fedora", "image": {
                "reference": "quay.io/containerdisks/fedora:41", "pullPolicy": "IfNotPresent" } }),
            &json!({ "name": "image-app", "image": {
                "reference": "registry.example:5000/app:1", "pullPolicy": "Always" } }),
        ]
    );
    let mounts = list(&objects.container("calf")["volumeMounts"]);
    for name in ["fedora", "app"] {
        let mount = json!({ "name": format!("image-{name}"), "readOnly": true,
                            "mountPath": format!("/image-volumes/{name}") });
        assert!(mounts.contains(&mount), "{name}: {mounts:?}");
    }
}

pub(crate) fn the_network_reaches_probes_only() {
    let objects = render("{}");
    let policy = &objects.one("NetworkPolicy")["spec"];
    let pod = &objects.one("DaemonSet")["spec"]["template"]["metadata"]["labels"];
    for (key, value) in policy["podSelector"]["matchLabels"].as_object().expect("labels") {
        assert_eq!(&pod[key], value, "{key}");
    }
    let probes = json!({ "ports": [{ "port": 9811 }] });
    assert_eq!(policy["ingress"], json!([probes]));
    let sidecars = render(ALL_SIDECARS);
    let both = json!({ "ports": [{ "port": 9811 }, { "port": 9808 }] });
    assert_eq!(sidecars.one("NetworkPolicy")["spec"]["ingress"], json!([both]));
    // A port without a rule is closed to all, and the kubelet probes none of these.
    let readiness = &objects.container("calf")["readinessProbe"]["httpGet"]["port"];
    assert!(
        list(&objects.container("calf")["ports"])
            .contains(&json!({ "name": readiness, "containerPort": 9811 }))
    );

    let monitoring = json!({ "namespaceSelector": { "matchLabels": { "team": "monitoring" } } });
    let scraped = render(&format!(
        "{{metrics: {{port: 9999}}, networkPolicy: {{scrapers: [{monitoring}]}}}}"
    ));
    let metrics = json!({ "from": [monitoring], "ports": [{ "port": 9999 }] });
    assert_eq!(scraped.one("NetworkPolicy")["spec"]["ingress"], json!([probes, metrics]));
    let without = render("networkPolicy: {enabled: false}");
    assert!(!without.names().contains(&"NetworkPolicy/calf".to_owned()));
}

pub(crate) fn another_list_restarts_the_driver() {
    let checksum = |values: &str| {
        let objects = render(values);
        let annotations = &objects.one("DaemonSet")["spec"]["template"]["metadata"]["annotations"];
        annotations["checksum/templates"].clone()
    };
    let first = checksum(&templates());
    assert!(first.is_string());
    assert_eq!(checksum(&templates()), first);
    assert_ne!(checksum(&templates().replace("web", "other")), first);
    assert!(checksum("{}").is_null());
}

pub(crate) fn options_add_mounts_and_arguments() {
    let objects = render(
        "{kata: {enabled: true}, tlsCa: {configMap: authorities}, registryAuth: {secret: pull}, hostPID: true, \
         extraEnv: [{name: HTTPS_PROXY, value: 'http://proxy.example'}], seLinuxType: spc_t, \
         imagePullSecrets: [{name: registry}], nodeSelector: {disk: nvme}}",
    );
    let directory = "/run/kata-containers/shared/direct-volumes";
    assert_eq!(host_path(&objects, "kata"), directory);
    assert_eq!(mount(&objects, "kata")["mountPath"], directory);
    assert_eq!(environment(&objects, "CALF_TLS_CA"), "/etc/calf-tls/ca.crt");
    let auth = "/etc/calf-registry/.dockerconfigjson";
    assert_eq!(environment(&objects, "CALF_REGISTRY_AUTH_FILE"), auth);
    assert_eq!(environment(&objects, "CALF_KATA_DIRECT_VOLUMES"), directory);
    assert_eq!(objects.pod()["hostPID"], true);
    assert_eq!(objects.pod()["securityContext"]["seLinuxOptions"]["type"], "spc_t");
    let proxy = json!({ "name": "HTTPS_PROXY", "value": "http://proxy.example" });
    assert!(list(&objects.container("calf")["env"]).contains(&proxy));
    assert_eq!(objects.pod()["imagePullSecrets"], json!([{ "name": "registry" }]));
    assert_eq!(objects.pod()["nodeSelector"]["disk"], "nvme");

    let without = render("{}");
    assert!(without.pod()["hostPID"].is_null());
    let names = |objects: &Objects| format!("{:?}", objects.container("calf")["env"]);
    assert!(names(&objects).contains("KATA") && !names(&without).contains("KATA"));
}

pub(crate) fn init_steps_can_be_left_out() {
    let init = |values: &str| list(&render(values).pod()["initContainers"]).len();
    assert_eq!(init("{}"), 2);
    assert_eq!(init("kernelModules: {load: false}"), 1);
    assert_eq!(init("udevRules: {install: false}"), 1);
    assert_eq!(init("{kernelModules: {load: false}, udevRules: {install: false}}"), 0);
}

pub(crate) fn two_releases_share_nothing() {
    let first = render("{}");
    let second = "{driverName: second.example, storageClasses: {ephemeral: {name: second-ephemeral}, \
                  durable: {name: second-durable}}}";
    let second = try_render("second", second).unwrap_or_else(|e| panic!("{e}"));
    let names = |objects: &Objects| objects.names().into_iter().collect::<BTreeSet<_>>();
    assert!(names(&first).is_disjoint(&names(&second)), "{:?}", second.names());
    let selector = |objects: &Objects| objects.one("DaemonSet")["spec"]["selector"].clone();
    assert_ne!(selector(&first), selector(&second));
    assert_ne!(host_path(&first, "socket"), host_path(&second, "socket"));
}

pub(crate) fn every_mount_has_its_volume() {
    let all = format!(
        "{}{}",
        templates(),
        "kata: {enabled: true}\ntlsCa: {configMap: ca}\nregistryAuth: {secret: pull}\n"
    );
    for values in ["{}", "{kernelModules: {load: false}, udevRules: {install: false}}", &all] {
        let objects = render(values);
        let volumes: BTreeSet<&str> =
            list(&objects.pod()["volumes"]).iter().map(|volume| text(&volume["name"])).collect();
        let mounts: BTreeSet<&str> = objects
            .containers()
            .flat_map(|container| list(&container["volumeMounts"]))
            .map(|mount| text(&mount["name"]))
            .collect();
        assert_eq!(volumes, mounts, "{values}");
    }
    // Mounts that calf makes must reach the kubelet and the pods.
    assert_eq!(mount(&render("{}"), "kubelet")["mountPropagation"], "Bidirectional");
}

pub(crate) fn storage_classes_are_as_asked_for() {
    let objects = render(
        "storageClasses: {ephemeral: {name: quick, isDefault: true, template: debian, \
         parameters: {cowLimit: 5Gi, deviceUid: '1000'}, reclaimPolicy: Retain}, \
         durable: {create: false}}",
    );
    let class = objects.one("StorageClass");
    assert_eq!(id(class), "quick");
    assert_eq!(
        class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"],
        "true"
    );
    assert_eq!(class["volumeBindingMode"], "WaitForFirstConsumer");
    assert_eq!(class["allowVolumeExpansion"], true);
    assert_eq!(class["reclaimPolicy"], "Retain");
    assert_eq!(
        class["parameters"],
        json!({
            "template": "debian", "durability": "ephemeral", "cowLimit": "5Gi", "deviceUid": "1000",
        })
    );
    let both = render("{}");
    assert_eq!(
        both.named("StorageClass", "calf-durable")["parameters"],
        json!({ "template": "base", "durability": "durable", "cowLimit": "10Gi" })
    );
    // Without a limit, or where it would be refused.
    for values in ["storageClasses: {durable: {cowLimit: ''}}", "pool: {fallback: copy}"] {
        assert_eq!(
            render(values).named("StorageClass", "calf-durable")["parameters"],
            json!({ "template": "base", "durability": "durable" }),
            "{values}"
        );
    }
}

pub(crate) fn there_may_be_any_number_of_classes() {
    let objects = render(
        "moreStorageClasses: [\
           {name: plain, template: base}, \
           {name: special, template: web, durability: durable, cowLimit: 1Gi, isDefault: true, \
            reclaimPolicy: Retain, allowVolumeExpansion: false, mountOptions: [noatime], fsType: xfs, \
            nodes: [one, two], parameters: {chunkSize: 16Ki}}]",
    );
    let plain = objects.named("StorageClass", "plain");
    assert_eq!(plain["parameters"], json!({ "template": "base", "durability": "ephemeral" }));
    assert_eq!(plain["reclaimPolicy"], "Delete");
    assert_eq!(plain["allowVolumeExpansion"], true);
    assert_eq!(plain["volumeBindingMode"], "WaitForFirstConsumer");
    assert_eq!(plain["allowedTopologies"], Value::Null);
    let special = objects.named("StorageClass", "special");
    assert_eq!(
        special["parameters"],
        json!({
            "template": "web", "durability": "durable", "cowLimit": "1Gi", "chunkSize": "16Ki",
            "csi.storage.k8s.io/fstype": "xfs",
        })
    );
    assert_eq!(special["reclaimPolicy"], "Retain");
    assert_eq!(special["allowVolumeExpansion"], false);
    assert_eq!(special["mountOptions"], json!(["noatime"]));
    let nodes = json!([{ "matchLabelExpressions": [
        { "key": "calf.csi.dev/node", "values": ["one", "two"] },
    ] }]);
    assert_eq!(special["allowedTopologies"], nodes);
    let default = "storageclass.kubernetes.io/is-default-class";
    assert_eq!(special["metadata"]["annotations"][default], "true");
}

const GROUPS: &str = "{templateImages: {path: /srv}, pool: {reserve: 1Gi}, \
    templates: [{name: base, source: /srv/base.img}], nodeGroups: [\
      {name: small, nodeSelector: {size: small}, pool: {path: /data/calf}}, \
      {name: big, nodeSelector: {size: big}, maxVolumesPerNode: 900, tolerations: [], \
       templates: [{name: web, source: /srv/web.img, warm: 3}], \
       resources: {limits: {memory: 1Gi}}}]}";

pub(crate) fn each_group_of_nodes_has_values_of_its_own() {
    let objects = render(GROUPS);
    let sets: Vec<&str> = objects.all("DaemonSet").map(id).collect();
    assert_eq!(sets, ["calf-small", "calf-big"]);
    let spec = |name: &str| &objects.named("DaemonSet", name)["spec"];
    let (small, big) = (spec("calf-small"), spec("calf-big"));
    // A pod that two DaemonSets select would be deleted by one of them.
    assert_ne!(small["selector"], big["selector"]);
    for (name, spec) in [("small", small), ("big", big)] {
        let pod = &spec["template"];
        let labels = spec["selector"]["matchLabels"].as_object().expect("labels");
        for (key, value) in labels {
            assert_eq!(&pod["metadata"]["labels"][key], value, "{key}");
        }
        let selector = json!({ "kubernetes.io/os": "linux", "size": name });
        assert_eq!(pod["spec"]["nodeSelector"], selector);
        // A value that the group does not give is the chart's, in a map that it gives too.
        assert_eq!(variable(driver(pod), "CALF_RESERVE"), "1Gi");
        let mounted = format!("calf-{name}-templates");
        assert!(pod["spec"]["volumes"].to_string().contains(&mounted), "{mounted}");
    }
    assert_eq!(variable(driver(&small["template"]), "CALF_POOL"), "/data/calf");
    assert_eq!(variable(driver(&big["template"]), "CALF_POOL"), "/var/lib/calf");
    let templates = |group: &str| {
        let map = objects.named("ConfigMap", &format!("calf-{group}-templates"));
        text(&map["data"]["templates.json"]).to_owned()
    };
    assert!(templates("small").contains("base.img") && !templates("small").contains("web.img"));
    assert!(templates("big").contains("web.img") && !templates("big").contains("base.img"));
    let calf = driver(&big["template"]);
    assert!(list(&calf["args"]).contains(&json!("--max-volumes-per-node=900")));
    assert_eq!(calf["resources"]["limits"]["memory"], "1Gi");

    let said = notes(GROUPS);
    for word in ["daemonset/calf-small", "daemonset/calf-big", "base, web"] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

/// Whoever may create pods can ask for them, so an administrator decides.
pub(crate) fn inline_volumes_are_switched_on_and_capped() {
    let inline = |objects: &Objects| -> Vec<String> {
        let arguments = objects.arguments("calf").into_iter().map(str::to_owned);
        arguments.filter(|argument| argument.starts_with("--inline")).collect()
    };
    assert_eq!(inline(&render("{}")), Vec::<String>::new());
    let on = render("inlineVolumes: {enabled: true}");
    assert_eq!(inline(&on), ["--inline-volumes", "--inline-max-cow-limit=10Gi"]);
    let modes = &on.one("CSIDriver")["spec"]["volumeLifecycleModes"];
    assert_eq!(*modes, json!(["Persistent", "Ephemeral"]));
    let capped = render(
        "inlineVolumes: {enabled: true, maxSize: 20Gi, maxCowLimit: '', allow: [reserve, durable], \
         templates: [base, 'debian-*']}",
    );
    assert_eq!(
        inline(&capped),
        [
            "--inline-volumes",
            "--inline-max-size=20Gi",
            "--inline-allow=reserve,durable",
            "--inline-templates=base,debian-*",
        ]
    );
}

/// Truncated names still end as an object's name must.
pub(crate) fn long_names_are_cut() {
    for end in ["bbbb", "-bbb", ".bbb"] {
        let release = format!("{}{end}", "a".repeat(49));
        let objects = try_render(&release, &templates()).unwrap_or_else(|e| panic!("{e}"));
        for name in ["DaemonSet", "ConfigMap", "Pod"].map(|kind| id(objects.one(kind))) {
            assert!(name.len() <= 63, "{name}");
            let cut = &name[..name.rfind("-t").unwrap_or(name.len())];
            assert!(cut.ends_with(|c: char| c.is_ascii_alphanumeric()), "{name}");
        }
    }
}

/// external-resizer makes the lease's name from the driver's.
pub(crate) fn the_resizer_may_use_its_lease_only() {
    let objects = render("driverName: my.driver.example");
    let rules = list(&objects.one("Role")["rules"]);
    let leases: Vec<&Value> =
        rules.iter().filter(|rule| list(&rule["resources"]).contains(&json!("leases"))).collect();
    for rule in leases {
        if rule["verbs"] != json!(["create"]) {
            assert_eq!(rule["resourceNames"], json!(["external-resizer-my-driver-example"]));
        }
    }
    // The rights cover only what the sidecars need to read: no secrets, no pods, no nodes.
    let wide: BTreeSet<&str> = list(&objects.one("ClusterRole")["rules"])
        .iter()
        .flat_map(|rule| list(&rule["resources"]))
        .map(text)
        .collect();
    assert_eq!(
        wide,
        BTreeSet::from([
            "events",
            "persistentvolumeclaims",
            "persistentvolumeclaims/status",
            "persistentvolumes",
            "storageclasses",
        ])
    );
}

/// A DaemonSet adopts every pod that its selector matches.
/// The driver registers itself and answers the kubelet's probes, or sidecars do, never both.
pub(crate) fn the_driver_does_without_two_sidecars() {
    let objects = render("{}");
    let names: Vec<&str> = objects.containers().map(|container| text(&container["name"])).collect();
    for name in ["registrar", "liveness-probe"] {
        assert!(!names.contains(&name), "{names:?}");
    }
    assert!(objects.arguments("calf").contains(&"--register"));
    assert_eq!(objects.container("calf")["livenessProbe"]["httpGet"]["port"], "probes");

    let objects = render(
        "{registrar: {enabled: true}, livenessProbe: {enabled: true}, kubeletDir: /data/kubelet}",
    );
    assert!(!objects.arguments("calf").contains(&"--register"));
    assert_eq!(objects.container("calf")["livenessProbe"]["httpGet"]["port"], "healthz");
    let registration = "--kubelet-registration-path=/data/kubelet/plugins/calf.csi.dev/csi.sock";
    assert!(objects.arguments("registrar").contains(&registration));
    assert_eq!(host_path(&objects, "registration"), "/data/kubelet/plugins_registry");
}

/// Every kind that the driver's account may change is held to the node, by a policy that denies.
pub(crate) fn a_token_is_held_to_its_node() {
    let objects = render("{driverName: my.driver.example, snapshots: {enabled: true}}");
    let mut held = BTreeSet::new();
    for policy in objects.all("ValidatingAdmissionPolicy") {
        let spec = &policy["spec"];
        assert_eq!(spec["failurePolicy"], "Fail");
        let who = text(&spec["matchConditions"][0]["expression"]);
        assert_eq!(who, "request.userInfo.username == 'system:serviceaccount:storage:calf'");
        // A VolumeSnapshot does not say whose it is; of those, only a finalizer may change.
        let all_drivers = id(policy) == "calf-volumesnapshots";
        let own = spec.to_string().contains("my.driver.example");
        assert!(own || all_drivers, "{}", id(policy));
        for rule in list(&spec["matchConstraints"]["resourceRules"]) {
            held.extend(list(&rule["resources"]).iter().map(text));
        }
        let bound = objects.all("ValidatingAdmissionPolicyBinding").find(|binding| {
            binding["spec"]["policyName"] == policy["metadata"]["name"]
                && binding["spec"]["validationActions"] == json!(["Deny"])
        });
        assert!(bound.is_some(), "{}", id(policy));
    }
    let changing = ["create", "update", "patch", "delete"];
    let kinds = ["ClusterRole", "Role"];
    for rule in kinds.into_iter().flat_map(|kind| list(&objects.one(kind)["rules"])) {
        let changes = list(&rule["verbs"]).iter().any(|verb| changing.contains(&text(verb)));
        for resource in list(&rule["resources"]).iter().map(text).filter(|_| changes) {
            // The resizers' lease is shared, and Events concern claims of all namespaces.
            let shared = ["leases", "events"].contains(&resource);
            assert!(shared || held.contains(resource), "{resource}");
        }
    }
    let off = render("rbac: {restrictToNode: false}");
    assert_eq!(off.all("ValidatingAdmissionPolicy").count(), 0);
    assert_eq!(off.all("ValidatingAdmissionPolicyBinding").count(), 0);
}

pub(crate) fn the_test_pod_is_not_the_daemon_sets() {
    let objects = render("{}");
    let selector = objects.one("DaemonSet")["spec"]["selector"]["matchLabels"].clone();
    let matches = |labels: &Value| {
        selector.as_object().expect("labels").iter().all(|(key, value)| &labels[key] == value)
    };
    assert!(matches(&objects.one("DaemonSet")["spec"]["template"]["metadata"]["labels"]));
    assert!(!matches(&objects.one("Pod")["metadata"]["labels"]));
}

pub(crate) fn notes_warn_of_missing_templates() {
    let said = notes("{}");
    assert!(said.contains("There are no templates yet"), "{said}");
    assert!(said.contains("NOT in `templates`"), "{said}");
    let said = notes(&templates());
    assert!(said.contains("base, web"), "{said}");
    assert!(!said.contains("NOT in"), "{said}");
}

/// The chart cannot see the nodes' disks.
pub(crate) fn notes_warn_of_the_root_disk() {
    let said = notes("{}");
    assert!(said.contains("root disk") && said.contains("pool.requireMount"), "{said}");
    assert!(!notes("pool: {requireMount: true}").contains("root disk"));
}

fn host_path<'a>(objects: &'a Objects, volume: &str) -> &'a str {
    let mut found = list(&objects.pod()["volumes"]).iter().filter(|v| v["name"] == volume);
    let found = found.next().unwrap_or_else(|| panic!("no volume {volume}"));
    text(&found["hostPath"]["path"])
}

/// An environment variable of the driver.
fn environment<'a>(objects: &'a Objects, name: &str) -> &'a str {
    variable(objects.container("calf"), name)
}

/// The driver's container in a pod.
fn driver(pod: &Value) -> &Value {
    &list(&pod["spec"]["containers"])[0]
}

/// An environment variable of a container.
fn variable<'a>(container: &'a Value, name: &str) -> &'a str {
    let mut found = list(&container["env"]).iter().filter(|e| e["name"] == name);
    let found = found.next().unwrap_or_else(|| panic!("no variable {name}"));
    text(&found["value"])
}

fn mount<'a>(objects: &'a Objects, volume: &str) -> &'a Value {
    let mut found =
        list(&objects.container("calf")["volumeMounts"]).iter().filter(|m| m["name"] == volume);
    found.next().unwrap_or_else(|| panic!("no mount {volume}"))
}
