use super::*;

fn path(text: &str) -> FilePath {
    FilePath::parse(text.as_bytes()).unwrap()
}

fn meta(mode: u16) -> Meta {
    Meta { mode, ..Meta::default() }
}

fn entry(text: &str, kind: Kind) -> Entry {
    Entry { path: path(text), kind, meta: meta(0o644) }
}

/// Layers of lines: `dir/`, `file`, `link -> target`, `name = other`.
fn tree(layers: &[&[&str]]) -> Result<Tree, Refusal> {
    let mut tree = Tree::new();
    for (number, layer) in layers.iter().enumerate() {
        if number > 0 {
            tree.next_layer();
        }
        for line in *layer {
            let entry = if let Some((name, target)) = line.split_once(" -> ") {
                entry(name, Kind::Symlink(target.to_owned()))
            } else if let Some((name, target)) = line.split_once(" = ") {
                entry(name, Kind::HardLink(path(target)))
            } else if line.ends_with('/') {
                entry(line, Kind::Directory)
            } else {
                entry(line, Kind::File(Extent { size: number as u64, parts: None }))
            };
            tree.add(entry, true)?;
        }
    }
    Ok(tree)
}

/// Every path, with the number of the layer of a file.
fn listing(tree: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    let mut left = vec![(ROOT, String::new())];
    while let Some((id, path)) = left.pop() {
        lines.push(match &tree.file(id).node {
            Node::Directory(names) => {
                left.extend(names.iter().map(|(name, to)| (to.file, format!("{path}/{name}"))));
                format!("{path}/")
            }
            Node::File { content, .. } => format!("{path} {}", content.layer),
            Node::Symlink(target) => format!("{path} -> {target}"),
            Node::Special(_) => format!("{path} special"),
        });
    }
    lines.sort();
    lines
}

fn list(layers: &[&[&str]]) -> Vec<String> {
    listing(&tree(layers).unwrap())
}

#[test]
fn later_files_replace_earlier_ones() {
    assert_eq!(list(&[&["a/b", "c"], &["c", "a/d"]]), ["/", "/a/", "/a/b 0", "/a/d 1", "/c 1"]);
    // A directory keeps what is in it, anything else goes.
    assert_eq!(list(&[&["a/b"], &["a/"]]), ["/", "/a/", "/a/b 0"]);
    assert_eq!(list(&[&["a/b"], &["a"]]), ["/", "/a 1"]);
    assert_eq!(list(&[&["a"], &["a/", "a/b"]]), ["/", "/a/", "/a/b 1"]);
    assert_eq!(list(&[&["a -> b", "b/c"], &["a/"]]), ["/", "/a/", "/b/", "/b/c 0"]);
    assert_eq!(list(&[&["a", "a", "./a"]]), ["/", "/a 0"]);
    assert!(tree(&[&["a", "a/b"]]).is_err(), "a file is no directory");
}

#[test]
fn whiteouts_remove_what_is_below_in_whatever_order() {
    for layer in [&["d/.wh.a", "d/b"][..], &["d/b", "d/.wh.a"]] {
        assert_eq!(list(&[&["d/a", "d/c"], layer]), ["/", "/d/", "/d/b 1", "/d/c 0"]);
    }
    // What the same layer brings stays, whether the whiteout comes before or after it.
    for layer in [&["d/.wh.a", "d/a"][..], &["d/a", "d/.wh.a"]] {
        assert_eq!(list(&[&["d/a"], layer]), ["/", "/d/", "/d/a 1"]);
    }
    for layer in [&[".wh.d", "d/", "d/b"][..], &["d/", "d/b", ".wh.d"], &["d/b", ".wh.d"]] {
        assert_eq!(list(&[&["d/a/x", "d/b"], layer]), ["/", "/d/", "/d/b 1"], "{layer:?}");
    }
    for layer in [
        &["d/", "d/.wh..wh..opq", "d/n/y"][..],
        &["d/n/y", "d/.wh..wh..opq", "d/"],
        &["d/n/y", "d/", "d/.wh..wh..opq"],
    ] {
        let found = list(&[&["d/a", "d/n/x", "e"], layer]);
        assert_eq!(found, ["/", "/d/", "/d/n/", "/d/n/y 1", "/e 0"], "{layer:?}");
    }
    assert_eq!(list(&[&["a"], &[".wh..wh..opq", "b"]]), ["/", "/b 1"], "of the root");
    // Of nothing.
    assert_eq!(list(&[&["a"], &[".wh.b", "c/.wh.d", "a/.wh.x", "a/.wh..wh..opq"]]), ["/", "/a 0"]);
    assert_eq!(list(&[&[".wh..wh.plnk/"]]), ["/"], "of AUFS");
    for refused in [".wh.", ".wh..", ".wh..."] {
        assert!(tree(&[&["a"], &[refused]]).is_err(), "{refused}");
    }
    // Where there are no layers, it is a name like any other.
    let mut plain = Tree::new();
    plain.add(entry(".wh.a", Kind::Directory), false).unwrap();
    assert_eq!(listing(&plain), ["/", "/.wh.a/"]);
}

#[test]
fn symlinks_lead_to_files_of_the_image_alone() {
    let usr = ["usr/lib/", "lib -> usr/lib"];
    assert_eq!(list(&[&usr, &["lib/x"]])[3..], ["/usr/lib/", "/usr/lib/x 1"]);
    assert_eq!(
        list(&[&["a -> /../../b", "c -> a/../d"], &["a/x", "c/y"]]),
        ["/", "/a -> /../../b", "/b/", "/b/x 1", "/c -> a/../d", "/d/", "/d/y 1"]
    );
    assert_eq!(
        list(&[&["usr/lib/x", "lib -> usr/lib"], &["lib/.wh.x"]]),
        ["/", "/lib -> usr/lib", "/usr/", "/usr/lib/"]
    );
    for layers in [&["a -> b", "b -> a", "a/x"][..], &["a -> a", "a/x"], &["a -> a/a", "a/x"]] {
        assert!(tree(&[layers]).is_err_and(|refusal| refusal.contains("symlinks")), "{layers:?}");
    }
}

#[test]
fn a_path_through_symlinks_is_not_endlessly_deep() {
    let deep = "d/".repeat(1000);
    let mut layers = vec![deep.clone(), format!("{deep}l -> /{deep}")];
    layers.push(format!("{deep}l/{}", "e/".repeat(20)));
    layers.push(format!("l -> {deep}"));
    layers.push(format!("l/{}x", "e/".repeat(23)));
    let lines: Vec<&str> = layers.iter().map(String::as_str).collect();
    tree(&[&lines]).unwrap();
    layers.push(format!("l/{}x", "e/".repeat(40)));
    let lines: Vec<&str> = layers.iter().map(String::as_str).collect();
    assert!(tree(&[&lines]).is_err_and(|refusal| refusal.contains("deep")));
}

#[test]
fn hard_links_share_a_file_across_layers() {
    let linked = tree(&[&["a", "d/"], &["d/b = a"], &["c = d/b"]]).unwrap();
    let id = |tree: &Tree, name: &str| tree.name(ROOT, name).unwrap().file;
    assert_eq!(id(&linked, "a"), id(&linked, "c"));
    assert_eq!(listing(&linked), ["/", "/a 0", "/c 0", "/d/", "/d/b 0"]);
    // One name that is replaced or removed leaves the others.
    assert_eq!(list(&[&["a", "b = a"], &["a"]]), ["/", "/a 1", "/b 0"]);
    assert_eq!(list(&[&["a", "b = a"], &[".wh.a"]]), ["/", "/b 0"]);
    // A new name of an old file is of the new layer.
    assert_eq!(
        list(&[&["a", "d/x"], &["d/b = a", "d/.wh..wh..opq"]]),
        ["/", "/a 0", "/d/", "/d/b 0"]
    );
    assert_eq!(list(&[&["l -> d", "d/a"], &["b = l/a"]])[1], "/b 0");
    for refused in ["a = none", "a = d", "a = none/b", "a = /"] {
        assert!(tree(&[&["d/", refused]]).is_err(), "{refused}");
    }
    // A link to a symlink is one to the symlink itself.
    assert_eq!(list(&[&["l -> x", "m = l"]]), ["/", "/l -> x", "/m -> x"]);
}

#[test]
fn directories_that_no_entry_describes_are_made_and_described_later() {
    let mut tree = Tree::new();
    let file = Kind::File(Extent::default());
    let late = Meta { mode: 0o600, modified: (7, 0), ..Meta::default() };
    tree.add(Entry { path: path("a/b"), kind: file, meta: late }, true).unwrap();
    let id = tree.name(ROOT, "a").unwrap().file;
    assert_eq!((tree.file(id).meta.mode, tree.file(id).meta.modified), (0o755, (7, 0)));
    tree.add(Entry { path: path("a"), kind: Kind::Directory, meta: meta(0o1777) }, true).unwrap();
    assert_eq!(tree.file(id).meta.mode, 0o1777);
    tree.add(Entry { path: path("."), kind: Kind::Directory, meta: meta(0o700) }, true).unwrap();
    assert_eq!(tree.file(ROOT).meta.mode, 0o700);
    assert!(tree.add(entry("/", Kind::Symlink("x".into())), true).is_err());
    assert_eq!(tree.entries, 4);
}
