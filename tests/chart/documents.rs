//! The manifests in docs/kubernetes.md, which the end-to-end test applies unchanged.

use serde_json::Value;

use crate::helm::{id, read, render, text, yaml};

/// The name in the first line of each manifest.
const MANIFESTS: [&str; 3] = ["microvm.yaml", "inline.yaml", "kata.yaml"];

/// A name that the chart does not create would leave a reader's pod pending.
pub(crate) fn manifests_use_what_the_chart_makes() {
    let documentation = read("docs/kubernetes.md");
    let objects = render("{}");
    let classes: Vec<&str> = objects.all("StorageClass").map(id).collect();
    for name in MANIFESTS {
        let (_, rest) = documentation
            .split_once(&format!("```yaml\n# {name}\n"))
            .unwrap_or_else(|| panic!("no {name}"));
        let manifest = rest.split("```").next().unwrap_or_default();
        let mut documents: Vec<Value> =
            serde_saphyr::from_multiple(manifest).unwrap_or_else(|e| panic!("{name}: {e}"));
        let own = documents.clone();
        let own: Vec<&str> =
            own.iter().filter(|object| object["kind"] == "StorageClass").map(id).collect();
        documents.retain(|object| object["kind"] == "Pod");
        let [pod] = documents.as_slice() else { panic!("{name} has {} pods", documents.len()) };
        for volume in pod["spec"]["volumes"].as_array().expect("volumes") {
            let claim = &volume["ephemeral"]["volumeClaimTemplate"]["spec"];
            if claim.is_object() {
                let class = text(&claim["storageClassName"]);
                assert!(classes.contains(&class) || own.contains(&class), "{name}: {class}");
            } else {
                assert_eq!(volume["csi"]["driver"], id(objects.one("CSIDriver")), "{name}");
            }
        }
    }
    // The values that the guide gives to Helm.
    for name in ["values.yaml", "groups.yaml"] {
        let (_, values) =
            documentation.split_once(&format!("```yaml\n# {name}\n")).expect("the values");
        let values = values.split("```").next().unwrap_or_default();
        assert!(!yaml(values)["templates"].as_array().expect("templates").is_empty());
        render(values);
    }
}
