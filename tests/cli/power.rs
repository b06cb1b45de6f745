//! The command line covers the library: each method of `Pool`, `Volume` and `Template` has a
//! command.

use std::fs;
use std::path::{Path, PathBuf};

use syn::{ImplItem, Item, Type, Visibility};

/// Methods without a command, and why.
const WITHOUT: [(&str, &str); 10] = [
    ("admission", "what a scheduler asks; `status` reports the space"),
    ("claimed_spares", "counts what this process did: a command has done nothing yet"),
    ("delete_on_drop", "a command is over before anything could be dropped"),
    ("expand_file_system", "`expand_file_system_until` does the same and more"),
    ("losses", "counts what this process saw"),
    ("name", "a command was told it"),
    ("pool", "a command was told it"),
    ("reconcile", "`reconcile_with` does the same and more"),
    ("record", "`status` tells the same and more"),
    ("volume_records", "`volumes` tells the same and more"),
];

#[test]
fn every_method_of_the_library_is_behind_a_command() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let methods: Vec<String> = sources(&root.join("api")).iter().flat_map(|s| methods(s)).collect();
    assert!(methods.len() > 25, "the library was not found: {methods:?}");
    let commands = sources(&root.join("cli")).concat();
    let missing: Vec<&String> = methods
        .iter()
        .filter(|method| !commands.contains(&format!(".{method}(")))
        .filter(|method| !WITHOUT.iter().any(|(name, _)| name == method))
        .collect();
    assert!(missing.is_empty(), "no command does what these do: {missing:?}");
}

/// The public methods of the pool and its handles in a source.
fn methods(source: &str) -> Vec<String> {
    let items = syn::parse_file(source).expect("Rust").items;
    let blocks = items.into_iter().filter_map(|item| match item {
        Item::Impl(block) if block.trait_.is_none() && is_meant(&block.self_ty) => Some(block),
        _ => None,
    });
    blocks
        .flat_map(|block| block.items)
        .filter_map(|item| match item {
            ImplItem::Fn(method) if matches!(method.vis, Visibility::Public(_)) => Some(method),
            _ => None,
        })
        .map(|method| method.sig.ident.to_string())
        .collect()
}

fn is_meant(of: &Type) -> bool {
    let names = ["Pool", "Volume", "Template"];
    matches!(of, Type::Path(path) if names.iter().any(|name| path.path.is_ident(name)))
}

/// The content of all files below a directory.
fn sources(directory: &Path) -> Vec<String> {
    let mut sources = Vec::new();
    let entries = fs::read_dir(directory).expect("a directory");
    for path in entries.map(|entry| entry.expect("an entry").path()).collect::<Vec<PathBuf>>() {
        match path.is_dir() {
            true => sources.extend(self::sources(&path)),
            false => sources.push(fs::read_to_string(&path).expect("a source")),
        }
    }
    sources
}
