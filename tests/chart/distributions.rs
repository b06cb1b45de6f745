//! The files of values for distributions, and the page about them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::helm::{CHART, Objects, id, list, program, read, render, render_with, text, yaml};

const PAGE: &str = "docs/distributions.md";
/// The names of the blocks of commands on the page.
const BLOCKS: [&str; 2] = ["kind.sh", "k3s.sh"];

/// What a file's rendered chart must have. `..USUAL` stands for what the chart has without any file.
struct Distribution {
    name: &'static str,
    kubelet: &'static str,
    pool: &'static str,
    pool_is_a_mount: bool,
    loads_modules: bool,
    udev_rules: Option<&'static str>,
    se_linux: Option<&'static str>,
    /// Objects that the chart otherwise does not make.
    more: &'static [&'static str],
}

const USUAL: Distribution = Distribution {
    name: "",
    kubelet: "/var/lib/kubelet",
    pool: "/var/lib/calf",
    pool_is_a_mount: false,
    loads_modules: true,
    udev_rules: Some("/etc/udev/rules.d"),
    se_linux: None,
    more: &[],
};

const DISTRIBUTIONS: [Distribution; 10] = [
    Distribution {
        name: "bottlerocket",
        loads_modules: false,
        udev_rules: Some("/run/udev/rules.d"),
        se_linux: Some("spc_t"),
        ..USUAL
    },
    Distribution { name: "eks-al2023", se_linux: Some("spc_t"), ..USUAL },
    Distribution { name: "flatcar", ..USUAL },
    Distribution { name: "gke-ubuntu", more: &["ResourceQuota/calf"], ..USUAL },
    Distribution { name: "k3s", se_linux: Some("spc_t"), ..USUAL },
    Distribution { name: "kind", loads_modules: false, udev_rules: None, ..USUAL },
    Distribution {
        name: "microk8s",
        kubelet: "/var/snap/microk8s/common/var/lib/kubelet",
        ..USUAL
    },
    Distribution { name: "minikube", pool: "/data/calf", loads_modules: false, ..USUAL },
    Distribution {
        name: "openshift",
        se_linux: Some("spc_t"),
        more: &["RoleBinding/calf-openshift-privileged"],
        ..USUAL
    },
    Distribution {
        name: "talos",
        pool: "/var/mnt/calf",
        pool_is_a_mount: true,
        loads_modules: false,
        udev_rules: Some("/run/udev/rules.d"),
        ..USUAL
    },
];

impl Distribution {
    fn file(&self) -> String {
        format!("distributions/{}.yaml", self.name)
    }

    fn values(&self) -> String {
        read(&format!("charts/calf/{}", self.file()))
    }
}

/// The files change what the table says and nothing else.
pub(crate) fn each_gets_what_differs() {
    let plain: BTreeSet<String> = render("{}").names().into_iter().collect();
    assert_rendered(&USUAL, &render("{}"), &plain);
    for distribution in &DISTRIBUTIONS {
        assert_rendered(distribution, &render(&distribution.values()), &plain);
    }
}

fn assert_rendered(expected: &Distribution, objects: &Objects, plain: &BTreeSet<String>) {
    let name = expected.name;
    let pod = objects.pod();
    let host: BTreeMap<&str, &str> = list(&pod["volumes"])
        .iter()
        .filter_map(|volume| Some((text(&volume["name"]), volume["hostPath"]["path"].as_str()?)))
        .collect();
    assert_eq!(host["kubelet"], expected.kubelet, "{name}");
    assert!(host["socket"].starts_with(expected.kubelet), "{name}: {}", host["socket"]);
    let kubelet = format!("--kubelet-dir={}", expected.kubelet);
    assert!(objects.arguments("calf").contains(&kubelet.as_str()), "{name}");
    assert_eq!(host["pool"], expected.pool, "{name}");
    let environment = list(&objects.container("calf")["env"]);
    let requires_mount = environment.iter().any(|set| set["name"] == "CALF_REQUIRE_MOUNT");
    assert_eq!(requires_mount, expected.pool_is_a_mount, "{name}");

    let steps: Vec<&str> =
        list(&pod["initContainers"]).iter().map(|step| text(&step["name"])).collect();
    let mut expected_steps = Vec::new();
    expected_steps.extend(expected.loads_modules.then_some("kernel-modules"));
    expected_steps.extend(expected.udev_rules.map(|_| "udev-rules"));
    assert_eq!(steps, expected_steps, "{name}");
    assert_eq!(host.get("udev-rules").copied(), expected.udev_rules, "{name}");

    let kind = &pod["securityContext"]["seLinuxOptions"]["type"];
    assert_eq!(kind.as_str(), expected.se_linux, "{name}");
    assert_ne!(pod["hostPID"], true, "{name}");
    let more: Vec<String> =
        objects.names().into_iter().filter(|object| !plain.contains(object)).collect();
    assert_eq!(more, expected.more, "{name}");
}

/// The values in `at` that are no maps, by their paths.
fn leaves(at: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
    match at.as_object() {
        Some(map) => {
            for (key, value) in map {
                leaves(value, &format!("{path}/{key}"), found);
            }
        }
        None => {
            found.insert(path.to_owned(), at.clone());
        }
    }
}

pub(crate) fn no_default_is_repeated() {
    let defaults = yaml(&read("charts/calf/values.yaml"));
    for distribution in &DISTRIBUTIONS {
        let mut set = BTreeMap::new();
        leaves(&yaml(&distribution.values()), "", &mut set);
        for (path, value) in set {
            let default = defaults.pointer(&path);
            let default = default.unwrap_or_else(|| panic!("{}: {path}", distribution.name));
            assert_ne!(&value, default, "{}: {path}", distribution.name);
        }
    }
}

/// Each value follows a comment with a link to where its reason stands.
pub(crate) fn each_value_has_its_source() {
    for distribution in &DISTRIBUTIONS {
        let values = distribution.values();
        let mut set = BTreeMap::new();
        leaves(&yaml(&values), "", &mut set);
        let (mut sourced, mut comment) = (0, String::new());
        for line in values.lines() {
            let line = line.trim_start();
            if line.starts_with('#') {
                comment.push_str(line);
                continue;
            }
            // A map's own line has no value.
            if !line.is_empty() && !line.ends_with(':') && line != "{}" {
                assert!(comment.contains("https://"), "{}: {line}", distribution.name);
                sourced += 1;
            }
            comment.clear();
        }
        assert_eq!(sourced, set.len(), "{}: {set:?}", distribution.name);
    }
}

/// The folder, the table, the page and the packaged chart have the same files.
pub(crate) fn each_is_listed_and_packaged() {
    let known: BTreeSet<String> = DISTRIBUTIONS.iter().map(Distribution::file).collect();
    let folder = Path::new(CHART).join("distributions");
    let found: BTreeSet<String> = fs::read_dir(folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .map(|name| format!("distributions/{name}"))
        .collect();
    assert_eq!(found, known);

    let page = read(PAGE);
    let rows: BTreeSet<String> = page
        .lines()
        .filter(|line| line.starts_with("| "))
        .filter_map(|line| line.split("(../charts/calf/").nth(1)?.split(')').next())
        .map(str::to_owned)
        .collect();
    assert_eq!(rows, known);

    let target = tempfile::tempdir().expect("a directory");
    let packaged = Command::new(program())
        .args(["package", CHART, "--destination"])
        .arg(target.path())
        .output()
        .expect("start helm");
    assert!(packaged.status.success(), "{}", String::from_utf8_lossy(&packaged.stderr));
    let archive = target.path().join(concat!("calf-", env!("CARGO_PKG_VERSION"), ".tgz"));
    let listed = Command::new("tar").arg("-tzf").arg(archive).output().expect("start tar");
    let listed = String::from_utf8(listed.stdout).expect("UTF-8");
    let packaged: BTreeSet<String> = listed
        .lines()
        .filter_map(|file| file.strip_prefix("calf/"))
        .filter(|file| file.starts_with("distributions/"))
        .map(str::to_owned)
        .collect();
    assert_eq!(packaged, known);
}

/// The blocks for newcomers are valid, install the chart with values that it takes, and their pods use
/// a class that it makes.
pub(crate) fn blocks_for_newcomers_render() {
    let page = read(PAGE);
    for name in BLOCKS {
        let (_, block) =
            page.split_once(&format!("```sh\n# {name}\n")).unwrap_or_else(|| panic!("no {name}"));
        let block = block.split("```").next().unwrap_or_default();
        bash(&format!("exec bash -n <<'BLOCK'\n{block}\nBLOCK"));

        let command: String = block
            .lines()
            .skip_while(|line| !line.starts_with("helm install "))
            .scan(true, |goes_on, line| {
                let taken = goes_on.then_some(format!("{line}\n"));
                *goes_on = line.ends_with('\\');
                taken
            })
            .collect();
        let helm = program();
        let helm = format!("helm() {{ shift; '{}' template \"$@\"; }}\n", helm.display());
        let objects = Objects::parse(&bash(&format!("{helm}{command}")));
        let templates = objects.named("ConfigMap", "calf-templates");
        assert!(templates["data"].to_string().contains("/srv/images/base.img"), "{name}");

        let (_, manifest) = block.split_once("kubectl apply -f - <<'EOF'\n").expect("a manifest");
        let pod = yaml(manifest.split("\nEOF").next().unwrap_or_default());
        let claim = &pod["spec"]["volumes"][0]["ephemeral"]["volumeClaimTemplate"]["spec"];
        objects.named("StorageClass", text(&claim["storageClassName"]));
        assert!(block.contains(&format!("exec {} --", id(&pod))), "{name}");
    }
}

/// Runs a script in the repository; returns what it prints.
fn bash(script: &str) -> String {
    let output = Command::new("bash")
        .args(["-c", script])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("start bash");
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Helm shows notes only for the version of the cluster that it talks to, so a copy of the chart renders
/// them as data of an object.
pub(crate) fn notes_name_the_file() {
    let copy = tempfile::tempdir().expect("a directory");
    let chart = copy.path().join("calf");
    bash(&format!("cp -r '{CHART}' '{0}' && mv '{0}/templates/NOTES.txt' '{0}'", chart.display()));
    let wrapped = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\ndata:\n  said: \
                   {{ tpl (.Files.Get \"NOTES.txt\") . | quote }}\n";
    fs::write(chart.join("templates/notes.yaml"), wrapped).expect("a writable copy");

    let said = |arguments: &[&str], values: &str| {
        let objects = render_with(&chart, arguments, values);
        text(&objects.named("ConfigMap", "notes")["data"]["said"]).to_owned()
    };
    const OPENSHIFT: [&str; 2] = ["--api-versions", "security.openshift.io/v1"];
    for (arguments, file) in [
        (["--kube-version", "v1.31.3+k3s1"], "k3s"),
        (["--kube-version", "v1.31.2-eks-7f9249a"], "eks-al2023"),
        (["--kube-version", "v1.31.2-gke.1384000"], "gke-ubuntu"),
        (OPENSHIFT, "openshift"),
    ] {
        let hint = format!("distributions/{file}.yaml");
        assert!(
            said(&arguments, "{}").contains(&hint),
            "{arguments:?}: {}",
            said(&arguments, "{}")
        );
        let values = read(&format!("charts/calf/{hint}"));
        let with = said(&arguments, &values);
        assert!(!with.contains("distributions/"), "{arguments:?}: {with}");
    }
    let eks = ["--kube-version", "v1.31.2-eks-7f9249a"];
    assert!(!said(&eks, &read("charts/calf/distributions/bottlerocket.yaml")).contains("seems"));
    assert!(!said(&["--kube-version", "v1.37.2"], "{}").contains("distributions/"));
}
