//! Compares the layers in `docs/design.md` with the imports in the source.
//!
//! Every path that starts with `crate`, `super` or `self` is resolved to the file that defines it,
//! so that `use` statements and qualified paths count alike. Test modules do not count: they may
//! import anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

/// The rooms from the ground up. A room may import from those below it, and from itself.
const STOREYS: [&[&str]; 14] = [
    &["error"],
    &["model"],
    &["cow", "http"],
    &["sys"],
    &["pool"],
    &["template"],
    &["volume"],
    &["snapshot"],
    &["guard", "reconcile"],
    &["api"],
    &["metrics"],
    &["kubernetes"],
    &["csi"],
    // Access for fuzzers and benchmarks, and the crate's root, which lists the public items.
    &["fuzzing", "micro", "lib"],
];

/// The command line is a crate of its own, which sees the library from outside.
const OUTSIDE: [&str; 2] = ["cli", "main"];

/// Paths that only some rooms may name: the start of the path, the rooms, and the reason.
const ONLY_IN: [(&str, &[&str], &str); 10] = [
    ("sd_notify", &["csi"], "only the driver has a service manager to tell"),
    ("tonic_health", &["csi"], "no gRPC type leaves `csi`"),
    ("tonic_reflection", &["csi"], "no gRPC type leaves `csi`"),
    ("tonic", &["csi"], "no gRPC type leaves `csi`"),
    ("prost", &["csi"], "no gRPC type leaves `csi`"),
    ("prost_types", &["csi"], "no gRPC type leaves `csi`"),
    ("devicemapper", &["sys"], "system calls are made in `sys`"),
    ("devicemapper_sys", &["sys"], "system calls are made in `sys`"),
    ("prometheus_client", &["metrics"], "`metrics` alone speaks Prometheus"),
    ("ureq", &["http", "template", "kubernetes"], "`http` makes the clients"),
];

/// Rooms of pure code, which name nothing that accesses the machine.
const PURE: [&str; 5] = ["model", "cow", "volume/plan", "snapshot/stream", "guard/watch"];

/// Paths that pure code must not name.
const IMPURE: [&str; 9] = [
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
    "rustix",
    "nix",
    "tokio",
    "crate::sys::lock",
];

/// Rooms of the engine, which access files and make system calls only through `Host`.
const BEHIND_THE_SEAM: [&str; 7] =
    ["pool", "template", "volume", "snapshot", "guard", "reconcile", "api"];

/// Paths that bypass `Host`.
const PAST_THE_SEAM: [&str; 7] = [
    "std::fs",
    "std::process",
    "std::thread::sleep",
    "rustix",
    "nix",
    "crate::sys::lock::lock",
    "crate::sys::lock::try_lock",
];

/// Methods of a path that access the machine.
const ASKING: [&str; 8] = [
    "canonicalize",
    "exists",
    "is_symlink",
    "metadata",
    "read_dir",
    "read_link",
    "symlink_metadata",
    "try_exists",
];

/// Files that may bypass `Host`, and why.
const OUTSIDE_THE_POOL: [(&str, &str); 1] =
    [("template/required", "it reads the administrator's list, which is no part of a pool")];

struct Source {
    /// The path below `src`, without `.rs`, and of `a/mod.rs` just `a`.
    module: String,
    /// Every path that it names: `crate::…` made absolute, others unchanged.
    paths: BTreeSet<String>,
    /// Every method that it calls.
    methods: BTreeSet<String>,
}

#[test]
fn rooms_import_only_from_the_storeys_below() {
    let mut wrong = Vec::new();
    for (from, to) in arrows() {
        let (above, below) = (room(&from), room(&to));
        if above != below && storey(below) >= storey(above) {
            wrong.push(format!("{from} imports {to}"));
        }
    }
    assert!(wrong.is_empty(), "these imports go upstairs or across:\n{}", wrong.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut arrows_of = BTreeMap::<String, BTreeSet<String>>::new();
    for (from, to) in arrows() {
        arrows_of.entry(from).or_default().insert(to);
    }
    let reachable = |from: &str| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(module) = next.pop() {
            for to in arrows_of.get(&module).into_iter().flatten() {
                if seen.insert(to.clone()) {
                    next.push(to.clone());
                }
            }
        }
        seen
    };
    let circle: Vec<String> = arrows()
        .into_iter()
        .filter(|(from, to)| reachable(to).contains(from))
        .map(|(from, to)| format!("{from} imports {to}"))
        .collect();
    assert!(circle.is_empty(), "these imports are part of a circle:\n{}", circle.join("\n"));
}

#[test]
fn what_belongs_to_one_room_stays_there() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (crate_name, rooms, why) in ONLY_IN {
            let named = source.paths.iter().any(|path| path.split("::").next() == Some(crate_name));
            if named && !rooms.contains(&room(&source.module)) {
                wrong.push(format!("{} names {crate_name}: {why}", source.module));
            }
        }
        let pure = PURE.iter().any(|room| is_within(&source.module, room));
        for impure in IMPURE.iter().filter(|_| pure) {
            if source.paths.iter().any(|path| is_path_within(path, impure)) {
                wrong.push(format!("{} names {impure}: it is pure code", source.module));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_engine_reaches_files_and_kernel_through_host_alone() {
    let mut wrong = Vec::new();
    for source in sources() {
        let exempt = OUTSIDE_THE_POOL.iter().any(|(module, _)| *module == source.module);
        if exempt || !BEHIND_THE_SEAM.contains(&room(&source.module)) {
            continue;
        }
        for path in &source.paths {
            let past = PAST_THE_SEAM.iter().any(|past| is_path_within(path, past));
            if past || path == "thread::sleep" {
                wrong.push(format!("{} names {path}", source.module));
            }
        }
        let asks = source.methods.iter().filter(|method| ASKING.contains(&method.as_str()));
        wrong.extend(asks.map(|method| format!("{} calls .{method}()", source.module)));
    }
    assert!(wrong.is_empty(), "no test can fail or kill at these:\n{}", wrong.join("\n"));
}

#[test]
fn every_room_has_its_storey() {
    let mut rooms: BTreeSet<String> =
        sources().iter().map(|s| room(&s.module).to_owned()).collect();
    for storey in STOREYS {
        for room in storey {
            assert!(rooms.remove(*room), "{room} is in the list and not in the source");
        }
    }
    assert!(rooms.is_empty(), "these have no place in the list: {rooms:?}");
}

fn room(module: &str) -> &str {
    module.split('/').next().unwrap_or(module)
}

fn storey(room: &str) -> usize {
    let found = STOREYS.iter().position(|storey| storey.contains(&room));
    found.unwrap_or_else(|| panic!("{room} has no storey"))
}

fn is_within(module: &str, room: &str) -> bool {
    module.strip_prefix(room).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_path_within(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// From file to file, each pair once.
fn arrows() -> BTreeSet<(String, String)> {
    let sources = sources();
    let modules: BTreeSet<&str> = sources.iter().map(|source| source.module.as_str()).collect();
    let reexports: BTreeMap<&str, &BTreeSet<String>> =
        sources.iter().map(|source| (source.module.as_str(), &source.paths)).collect();
    let mut arrows = BTreeSet::new();
    for source in &sources {
        for path in &source.paths {
            let Some(path) = path.strip_prefix("crate::") else { continue };
            let Some(target) = definer(path, &modules, &reexports) else { continue };
            // A module may name its parts, and a part the module that declares it.
            if target != source.module {
                arrows.insert((source.module.clone(), target));
            }
        }
    }
    arrows
}

/// The file that defines `path`: the deepest module on it, or the part of that module which it
/// re-exports the name from.
fn definer(
    path: &str,
    modules: &BTreeSet<&str>,
    paths: &BTreeMap<&str, &BTreeSet<String>>,
) -> Option<String> {
    let segments: Vec<&str> = path.split("::").collect();
    let depth =
        (1..=segments.len()).rev().find(|n| modules.contains(segments[..*n].join("/").as_str()));
    let Some(depth) = depth else { return Some("lib".to_owned()) };
    let module = segments[..depth].join("/");
    let Some(name) = segments.get(depth) else { return Some(module) };
    let inside = format!("crate::{}::", module.replace('/', "::"));
    let from = paths[module.as_str()].iter().find(|used| {
        used.starts_with(&inside)
            && used.ends_with(&format!("::{name}"))
            && used.len() > inside.len() + name.len()
    });
    match from {
        Some(used) => definer(used.strip_prefix("crate::")?, modules, paths),
        None => Some(module),
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    list(&root, &mut files);
    let mut sources = Vec::new();
    for file in files {
        let below = file.strip_prefix(&root).expect("below src").with_extension("");
        let module = below.to_str().expect("UTF-8").trim_end_matches("/mod").to_owned();
        let is_test = module.ends_with("tests")
            || module.ends_with("/fuzzing")
            || module.ends_with("/sample");
        if is_test || OUTSIDE.contains(&room(&module)) {
            continue;
        }
        let parsed = syn::parse_file(&fs::read_to_string(&file).expect("a source")).expect("Rust");
        let mut names = Names { module: &module, paths: BTreeSet::new(), methods: BTreeSet::new() };
        names.visit_file(&parsed);
        let Names { paths, methods, .. } = names;
        sources.push(Source { module, paths, methods });
    }
    assert!(sources.len() > 100, "the source was not found");
    sources
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            list(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Collects the paths that a file names.
struct Names<'a> {
    module: &'a str,
    paths: BTreeSet<String>,
    methods: BTreeSet<String>,
}

impl Names<'_> {
    fn add(&mut self, segments: &[String]) {
        let own: Vec<String> = match self.module {
            "lib" => Vec::new(),
            module => module.split('/').map(str::to_owned).collect(),
        };
        let absolute = match segments.first().map(String::as_str) {
            Some("self") => [&["crate".to_owned()], own.as_slice(), &segments[1..]].concat(),
            Some("super") => {
                let ups = segments.iter().take_while(|segment| *segment == "super").count();
                let kept = own.len().saturating_sub(ups);
                [&["crate".to_owned()], &own[..kept], &segments[ups..]].concat()
            }
            _ => segments.to_vec(),
        };
        self.paths.insert(absolute.join("::"));
    }

    fn add_tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.add_tree(&with(&path.ident), &path.tree),
            UseTree::Name(name) if name.ident == "self" => self.add(before),
            UseTree::Name(name) => self.add(&with(&name.ident)),
            UseTree::Rename(rename) => self.add(&with(&rename.ident)),
            UseTree::Glob(_) => self.add(before),
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.add_tree(before, tree))
            }
        }
    }
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_of_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut before = Vec::new();
        // `use part::Name` of a part of this module.
        if let UseTree::Path(path) = &item.tree
            && self.is_part(&path.ident.to_string())
        {
            before.push("self".to_owned());
        }
        self.add_tree(&before, &item.tree);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.methods.insert(call.method.to_string());
        visit::visit_expr_method_call(self, call);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if segments.len() > 1 {
            self.add(&segments);
        }
        visit::visit_path(self, path);
    }
}

impl Names<'_> {
    fn is_part(&self, name: &str) -> bool {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let directory = if self.module == "lib" { root } else { root.join(self.module) };
        directory.join(format!("{name}.rs")).exists()
            || directory.join(name).join("mod.rs").exists()
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}
