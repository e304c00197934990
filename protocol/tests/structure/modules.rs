//! The modules of a crate, each of which is a file, and which of them use which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Meta, UseTree, Visibility};

/// The names from the crate's root down to a module; empty for the root.
pub(crate) type Name = Vec<String>;

/// A module, which is a file.
pub(crate) struct Module {
    pub(crate) path: PathBuf,
    pub(crate) file: syn::File,
    /// The paths of other modules and items that it uses, from the crate's root.
    uses: Vec<Name>,
    /// Items that it shows as its own, and where they are.
    shown: BTreeMap<String, Name>,
}

/// The modules of one crate, without its tests.
pub(crate) struct Modules(pub(crate) BTreeMap<Name, Module>);

impl Modules {
    /// Reads all files below `source`, a crate's `src`.
    pub(crate) fn read(source: &Path) -> Self {
        let mut found = BTreeMap::new();
        for path in files(source) {
            let name = name_of(source, &path);
            let file = syn::parse_file(&fs::read_to_string(&path).unwrap())
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            found.insert(name, (path, file));
        }
        let names: BTreeSet<Name> = found.keys().cloned().collect();
        let tests = test_modules(&found);
        let is_test = |name: &Name| tests.iter().any(|test| name.starts_with(test));
        let modules =
            found
                .into_iter()
                .filter(|(name, _)| !is_test(name))
                .map(|(name, (path, file))| {
                    let mut reader = Reader {
                        module: &name,
                        names: &names,
                        uses: Vec::new(),
                        shown: BTreeMap::new(),
                    };
                    reader.visit_file(&file);
                    let (uses, shown) = (reader.uses, reader.shown);
                    let module = Module {
                        path,
                        file,
                        uses,
                        shown,
                    };
                    (name, module)
                });
        Self(modules.collect())
    }

    /// For each module those that it uses. What a module shows of its own children is no use of them.
    pub(crate) fn arrows(&self) -> BTreeMap<&Name, BTreeSet<&Name>> {
        let arrows = self.0.iter().map(|(name, module)| {
            let used = module.uses.iter().filter_map(|path| self.resolve(path, 0));
            (name, used.filter(|used| *used != name).collect())
        });
        arrows.collect()
    }

    /// The module that holds the item of this path.
    fn resolve(&self, path: &[String], depth: u8) -> Option<&Name> {
        let longest = (0..=path.len()).rev().find_map(|len| {
            let (name, module) = self.0.get_key_value(&path[..len])?;
            Some((len, name, module))
        });
        let (len, name, module) = longest?;
        match path.get(len).and_then(|item| module.shown.get(item)) {
            Some(shown) if depth < 5 => {
                let path: Name = shown.iter().chain(&path[len + 1..]).cloned().collect();
                self.resolve(&path, depth + 1)
            }
            _ => Some(name),
        }
    }
}

/// Collects paths.
struct Reader<'a> {
    module: &'a Name,
    names: &'a BTreeSet<Name>,
    uses: Vec<Name>,
    shown: BTreeMap<String, Name>,
}

impl Reader<'_> {
    /// A path as it is written, from the crate's root; `None` if it leads out of the crate.
    fn absolute(&self, path: &[String]) -> Option<Name> {
        let mut from = self.module.clone();
        let mut rest = path;
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "crate" => from.clear(),
                "self" => {}
                "super" => drop(from.pop()),
                child => {
                    let is_relative = rest.len() < path.len();
                    let child = [from.as_slice(), &[child.to_owned()]].concat();
                    if !is_relative && !self.names.contains(&child) {
                        return None;
                    }
                    break;
                }
            }
            rest = after;
        }
        from.extend_from_slice(rest);
        Some(from)
    }

    fn take_tree(&mut self, tree: &UseTree, before: &[String], is_shown: bool) {
        match tree {
            UseTree::Path(path) => {
                let path_to = [before, &[path.ident.to_string()]].concat();
                self.take_tree(&path.tree, &path_to, is_shown);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.take_tree(tree, before, is_shown);
                }
            }
            UseTree::Name(name) => {
                self.take_use(before, &name.ident.to_string(), None, is_shown);
            }
            UseTree::Rename(name) => {
                let renamed = Some(name.rename.to_string());
                self.take_use(before, &name.ident.to_string(), renamed, is_shown);
            }
            UseTree::Glob(_) => self.take_use(before, "self", None, is_shown),
        }
    }

    fn take_use(&mut self, before: &[String], name: &str, renamed: Option<String>, is_shown: bool) {
        let path = match name {
            "self" => before.to_vec(),
            name => [before, &[name.to_owned()]].concat(),
        };
        let Some(path) = self.absolute(&path) else {
            return;
        };
        if is_shown && path.starts_with(self.module) {
            let shown = renamed.unwrap_or_else(|| name.to_owned());
            self.shown.insert(shown, path);
        } else {
            self.uses.push(path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_shown = !matches!(item.vis, Visibility::Inherited);
        self.take_tree(&item.tree, &[], is_shown);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Name = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if names.len() > 1
            && let Some(path) = self.absolute(&names)
        {
            self.uses.push(path);
        }
        visit::visit_path(self, path);
    }
}

/// The modules that are compiled for tests alone.
fn test_modules(found: &BTreeMap<Name, (PathBuf, syn::File)>) -> Vec<Name> {
    let of_module = |(name, (_, file)): (&Name, &(PathBuf, syn::File))| {
        let tests = file.items.iter().filter_map(|item| match item {
            Item::Mod(ItemMod { attrs, ident, .. }) if is_test(attrs) => {
                Some([name.as_slice(), &[ident.to_string()]].concat())
            }
            _ => None,
        });
        tests.collect::<Vec<_>>()
    };
    found.iter().flat_map(of_module).collect()
}

/// Whether a `cfg` names tests.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let words = list.tokens.to_string();
            !words.contains("not")
                && words
                    .split(|c: char| !c.is_alphanumeric())
                    .any(|w| w == "test")
        }
        _ => false,
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        _ => &[],
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let of_entry = |path: PathBuf| match path.is_dir() {
        true => files(&path),
        false => vec![path],
    };
    let all = entries.flat_map(|entry| of_entry(entry.unwrap().path()));
    all.filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

fn name_of(source: &Path, path: &Path) -> Name {
    let path = path.strip_prefix(source).unwrap().with_extension("");
    let mut name: Name = path
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if name.last().is_some_and(|last| last == "mod") || name == ["lib"] {
        name.pop();
    }
    name
}
