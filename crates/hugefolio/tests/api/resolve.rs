//! Which item a name means.

use std::collections::{BTreeMap, BTreeSet};

use quote::ToTokens;
use syn::{Attribute, Item, ItemImpl, Path, Type, UseTree, Visibility};

use super::{Sources, expand, signature};

/// An item or a module by where it is defined: the crate and the path in it, the name last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Def {
    krate: String,
    path: Vec<String>,
}

impl Def {
    pub(crate) fn module(krate: &str, path: &[String]) -> Self {
        Self { krate: krate.to_owned(), path: path.to_vec() }
    }

    fn child(&self, name: &str) -> Self {
        let mut path = self.path.clone();
        path.push(name.to_owned());
        Self { krate: self.krate.clone(), path }
    }

    /// The module in which it is defined, and its name there.
    pub(crate) fn parent(&self) -> Option<(Self, &str)> {
        let (name, path) = self.path.split_last()?;
        Some((Self::module(&self.krate, path), name))
    }
}

/// One name that a module takes from elsewhere.
struct Use {
    public: bool,
    path: Vec<String>,
    alias: String,
}

/// One module: what is written in it, macros expanded.
#[derive(Default)]
struct Module {
    public: bool,
    items: Vec<Item>,
    uses: Vec<Use>,
}

impl Module {
    /// The words with which paths begin: names of other crates among them.
    fn first_words(&self) -> Vec<String> {
        let mentioned = self.items.iter().flat_map(|item| signature::paths(item.to_token_stream()));
        let long = mentioned.filter(|path| path.len() > 1).chain(self.uses.iter().map(|used| used.path.clone()));
        let words: BTreeSet<String> = long.filter_map(|path| path.into_iter().next()).collect();
        words.into_iter().collect()
    }
}

/// One crate.
pub(crate) struct Krate {
    name: String,
    modules: BTreeMap<Vec<String>, Module>,
}

/// The root crate and every room that it names.
pub(crate) struct Krates {
    krates: BTreeMap<String, Krate>,
}

impl Krate {
    fn load(sources: &Sources, name: &str) -> Option<Self> {
        let mut krate = Self { name: name.to_owned(), modules: BTreeMap::new() };
        let root = format!("{name}/src/lib.rs");
        let text = sources.read(&root)?;
        krate.add_file(sources, Vec::new(), true, &root, &text);
        Some(krate)
    }

    fn add_file(&mut self, sources: &Sources, path: Vec<String>, public: bool, file: &str, text: &str) {
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let is_root = file.ends_with("/lib.rs") || file.ends_with("/mod.rs");
        let folder =
            if is_root { file.rsplit_once('/').map_or("", |(folder, _)| folder) } else { file.trim_end_matches(".rs") };
        self.add_items(sources, path, public, folder, parsed.items);
    }

    fn add_items(&mut self, sources: &Sources, path: Vec<String>, public: bool, folder: &str, items: Vec<Item>) {
        let mut module = Module { public, ..Module::default() };
        for item in expand::macros(items).into_iter().filter(|item| !is_for_tests(attributes(item))) {
            match item {
                Item::Mod(inner) => {
                    let name = inner.ident.to_string();
                    let mut path = path.clone();
                    path.push(name.clone());
                    let folder = format!("{folder}/{name}");
                    let public = matches!(inner.vis, Visibility::Public(_));
                    match inner.content {
                        Some((_, items)) => self.add_items(sources, path, public, &folder, items),
                        None => {
                            let files = [format!("{folder}.rs"), format!("{folder}/mod.rs")];
                            let found = files.iter().find_map(|file| Some((file, sources.read(file)?)));
                            let (file, text) =
                                found.unwrap_or_else(|| panic!("there is no file for `mod {name}` in {folder}"));
                            self.add_file(sources, path, public, file, &text);
                        }
                    }
                }
                Item::Use(item) => {
                    let public = matches!(item.vis, Visibility::Public(_));
                    flatten(&item.tree, &mut Vec::new(), public, &mut module.uses);
                }
                other => module.items.push(other),
            }
        }
        self.modules.insert(path, module);
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Every `impl`, with the module it stands in.
    pub(crate) fn impls(&self) -> impl Iterator<Item = (&[String], &ItemImpl)> {
        self.modules.iter().flat_map(|(path, module)| {
            module.items.iter().filter_map(|item| match item {
                Item::Impl(item) => Some((path.as_slice(), item)),
                _ => None,
            })
        })
    }
}

impl Krates {
    pub(crate) fn load(sources: &Sources, root: &str) -> Self {
        let mut krates = BTreeMap::new();
        let mut open = vec![root.to_owned()];
        let mut asked = BTreeSet::new();
        while let Some(name) = open.pop() {
            if !asked.insert(name.clone()) {
                continue;
            }
            let Some(krate) = Krate::load(sources, &name) else { continue };
            open.extend(krate.modules.values().flat_map(Module::first_words));
            krates.insert(name, krate);
        }
        assert!(krates.contains_key(root), "{root} has sources");
        Self { krates }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Krate> {
        self.krates.values()
    }

    fn module(&self, def: &Def) -> Option<&Module> {
        self.krates.get(&def.krate)?.modules.get(&def.path)
    }

    pub(crate) fn is_module(&self, def: &Def) -> bool {
        self.module(def).is_some()
    }

    /// The items that a definition stands for.
    pub(crate) fn items_named<'a>(&'a self, def: &'a Def) -> impl Iterator<Item = &'a Item> {
        let parent = def.parent().and_then(|(module, name)| Some((self.module(&module)?, name)));
        parent.into_iter().flat_map(|(module, name)| module.items.iter().filter(move |item| is_named(item, name)))
    }

    /// The public names of a module with what they mean.
    pub(crate) fn shown_by(&self, module: &Def) -> Vec<(String, Def)> {
        let Some(content) = self.module(module) else { return Vec::new() };
        let mut shown: Vec<(String, Def)> = Vec::new();
        for item in &content.items {
            if let (Some(name), Some(Visibility::Public(_))) = (name(item), visibility(item)) {
                shown.push((name.clone(), module.child(&name)));
            }
        }
        let inner = self.krates[&module.krate].modules.iter().filter(|(path, inner)| {
            inner.public && path.len() == module.path.len() + 1 && path.starts_with(&module.path)
        });
        shown.extend(inner.filter_map(|(path, _)| path.last()).map(|name| (name.clone(), module.child(name))));
        for used in content.uses.iter().filter(|used| used.public) {
            let path = used.path.join("::");
            let def = self.resolve(module, &used.path);
            let def = def.unwrap_or_else(|| panic!("`pub use {path}` in {module:?} leads to no item of the project"));
            shown.push((used.alias.clone(), def));
        }
        shown
    }

    /// What a type's path means, if it is a path to an item of the project.
    pub(crate) fn type_of(&self, krate: &Krate, module: &[String], of: &Type) -> Option<Def> {
        match of {
            Type::Path(path) => self.resolve_path(krate, module, &path.path),
            _ => None,
        }
    }

    pub(crate) fn resolve_path(&self, krate: &Krate, module: &[String], path: &Path) -> Option<Def> {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.resolve(&Def::module(&krate.name, module), &segments)
    }

    /// What a path means that is written in `module`.
    pub(crate) fn resolve(&self, module: &Def, path: &[String]) -> Option<Def> {
        let (first, rest) = path.split_first()?;
        let start = match first.as_str() {
            "crate" => Def::module(&module.krate, &[]),
            "self" => module.clone(),
            "super" => module.parent()?.0,
            name => match self.lookup(module, name) {
                Some(def) => def,
                None if self.krates.contains_key(name) => Def::module(name, &[]),
                None => return None,
            },
        };
        rest.iter().try_fold(start, |def, name| self.lookup(&def, name))
    }

    /// What a name means inside a module.
    fn lookup(&self, module: &Def, sought: &str) -> Option<Def> {
        let content = self.module(module)?;
        let child = module.child(sought);
        if self.is_module(&child) || content.items.iter().any(|item| is_named(item, sought)) {
            return Some(child);
        }
        let used = content.uses.iter().find(|used| used.alias == sought)?;
        // `use page_alloc;` and the like name the crate itself, not the name just being looked up.
        if used.path.len() == 1 { Some(Def::module(&used.path[0], &[])) } else { self.resolve(module, &used.path) }
    }
}

fn flatten(tree: &UseTree, before: &mut Vec<String>, public: bool, uses: &mut Vec<Use>) {
    match tree {
        UseTree::Path(tree) => {
            before.push(tree.ident.to_string());
            flatten(&tree.tree, before, public, uses);
            before.pop();
        }
        UseTree::Group(tree) => tree.items.iter().for_each(|tree| flatten(tree, before, public, uses)),
        UseTree::Name(tree) if tree.ident == "self" => {
            let alias = before.last().cloned().unwrap_or_default();
            uses.push(Use { public, path: before.clone(), alias });
        }
        UseTree::Name(tree) => {
            let path = before.iter().cloned().chain([tree.ident.to_string()]).collect();
            uses.push(Use { public, path, alias: tree.ident.to_string() });
        }
        UseTree::Rename(tree) => {
            let path = before.iter().cloned().chain([tree.ident.to_string()]).collect();
            uses.push(Use { public, path, alias: tree.rename.to_string() });
        }
        UseTree::Glob(_) => {
            assert!(!public, "`pub use {}::*`: name what is public, so that the list can", before.join("::"))
        }
    }
}

/// Is the item there only while tests or examples are built?
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && ["test", "doctest"]
                .iter()
                .any(|what| attribute.parse_args::<Path>().is_ok_and(|path| path.is_ident(what)))
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn is_named(item: &Item, sought: &str) -> bool {
    name(item).is_some_and(|name| name == sought)
}

fn name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

fn visibility(item: &Item) -> Option<&Visibility> {
    Some(match item {
        Item::Const(item) => &item.vis,
        Item::Enum(item) => &item.vis,
        Item::Fn(item) => &item.vis,
        Item::Static(item) => &item.vis,
        Item::Struct(item) => &item.vis,
        Item::Trait(item) => &item.vis,
        Item::Type(item) => &item.vis,
        Item::Union(item) => &item.vis,
        _ => return None,
    })
}
