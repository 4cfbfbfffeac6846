//! The walk over everything that a crate shows.

use std::collections::BTreeMap;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{
    Attribute, Field, Fields, ImplItem, Item, ItemEnum, ItemImpl, ItemStruct, ItemTrait, Signature, TraitItem,
    Visibility,
};

use super::resolve::{Def, Krate, Krates};
use super::{Api, Sources, signature};

/// The public items of the crate `root`.
pub(crate) fn list(sources: &Sources, root: &str) -> Api {
    let krates = Krates::load(sources, root);
    let root_module = Def::module(root, &[]);
    let mut listing = Listing {
        krates: &krates,
        names: BTreeMap::new(),
        lines: Vec::new(),
        mentions: Vec::new(),
        here: root_module.clone(),
    };
    listing.name_module(&root_module, root);
    listing.describe();
    let mut nameless: Vec<String> = listing.nameless().collect();
    nameless.sort();
    nameless.dedup();
    listing.lines.sort();
    listing.lines.dedup();
    Api { lines: listing.lines.into_iter().map(|(_, line)| line).collect(), nameless }
}

struct Listing<'a> {
    krates: &'a Krates,
    /// What is public, with its public path.
    names: BTreeMap<Def, String>,
    /// A path with a line about it.
    lines: Vec<(String, String)>,
    /// A path, the module in which its item is written, and a part of it that users see.
    mentions: Vec<(String, Def, TokenStream)>,
    /// The module of the item being described.
    here: Def,
}

impl Listing<'_> {
    /// Names everything that a public module shows.
    fn name_module(&mut self, module: &Def, path: &str) {
        for (name, def) in self.krates.shown_by(module) {
            let path = format!("{path}::{name}");
            if self.names.insert(def.clone(), path.clone()).is_none() && self.krates.is_module(&def) {
                self.say(&path, format!("pub mod {path}"));
                self.name_module(&def, &path);
            }
        }
    }

    fn say(&mut self, path: &str, line: String) {
        self.lines.push((path.to_owned(), line));
    }

    fn mention(&mut self, path: &str, part: &impl ToTokens) {
        self.mentions.push((path.to_owned(), self.here.clone(), part.to_token_stream()));
    }

    fn nameless(&self) -> impl Iterator<Item = String> {
        self.mentions.iter().flat_map(|(path, module, part)| {
            let hidden = signature::paths(part.clone()).into_iter().filter(|mentioned| {
                let def = self.krates.resolve(module, mentioned);
                def.is_some_and(|def| !self.krates.is_module(&def) && !self.names.contains_key(&def))
            });
            hidden.map(move |hidden| format!("{} in {path}", hidden.join("::")))
        })
    }

    fn describe(&mut self) {
        let krates = self.krates;
        let names = self.names.clone();
        for (def, path) in &names {
            let Some((module, _)) = def.parent() else { continue };
            self.here = module;
            krates.items_named(def).for_each(|item| self.item(item, path));
        }
        for krate in krates.all() {
            for (module, item) in krate.impls() {
                self.here = Def::module(krate.name(), module);
                self.implementation(krate, module, item);
            }
        }
    }

    fn item(&mut self, item: &Item, path: &str) {
        match item {
            Item::Struct(item) => self.structure(item, path),
            Item::Enum(item) => self.enumeration(item, path),
            Item::Trait(item) => self.interface(item, path),
            Item::Fn(item) => self.function("pub ", path, &item.sig, ""),
            Item::Const(item) => self.typed("pub const ", path, &item.ty),
            Item::Type(item) => {
                let head = signature::head("pub type", path, &item.attrs, &item.generics);
                self.say(path, format!("{head} = {}", signature::text(&item.ty)));
                self.mention(path, &item.ty);
            }
            other => panic!("{path} is an item of a kind that the list does not know yet: {}", signature::text(other)),
        }
    }

    fn function(&mut self, visibility: &str, path: &str, of: &Signature, end: &str) {
        self.say(path, signature::function(visibility, path, of) + end);
        self.mention(path, of);
    }

    /// A constant or a field.
    fn typed(&mut self, what: &str, path: &str, of: &syn::Type) {
        self.say(path, format!("{what}{path}: {}", signature::text(of)));
        self.mention(path, of);
    }

    fn structure(&mut self, item: &ItemStruct, path: &str) {
        let fields: Vec<&Field> = item.fields.iter().collect();
        let shown: Vec<&&Field> = fields.iter().filter(|field| is_public(&field.vis)).collect();
        let shape = match &item.fields {
            Fields::Named(_) if shown.len() < fields.len() => " { .. }".to_owned(),
            Fields::Named(_) | Fields::Unit => String::new(),
            Fields::Unnamed(_) => {
                let field = |f: &&Field| if is_public(&f.vis) { signature::text(f) } else { "_".to_owned() };
                format!("({})", fields.iter().map(field).collect::<Vec<_>>().join(", "))
            }
        };
        self.say(path, signature::head("pub struct", path, &item.attrs, &item.generics) + &shape);
        for field in shown {
            match &field.ident {
                Some(name) => self.typed("pub ", &format!("{path}::{name}"), &field.ty),
                None => self.mention(path, &field.ty),
            }
        }
        self.derives(&item.attrs, path);
    }

    fn enumeration(&mut self, item: &ItemEnum, path: &str) {
        self.say(path, signature::head("pub enum", path, &item.attrs, &item.generics));
        for variant in &item.variants {
            let path = format!("{path}::{}", variant.ident);
            self.say(&path, signature::variant(&path, variant));
            variant.fields.iter().for_each(|field| self.mention(&path, &field.ty));
        }
        self.derives(&item.attrs, path);
    }

    fn derives(&mut self, attributes: &[Attribute], path: &str) {
        for derived in signature::derives(attributes) {
            self.say(path, format!("impl {derived} for {path}"));
        }
    }

    fn interface(&mut self, item: &ItemTrait, path: &str) {
        let bounds = signature::bounds(&item.supertraits);
        self.say(path, signature::head("pub trait", path, &item.attrs, &item.generics) + &bounds);
        for inner in &item.items {
            match inner {
                TraitItem::Fn(inner) => {
                    let given = if inner.default.is_some() { " { .. }" } else { "" };
                    self.function("", &format!("{path}::{}", inner.sig.ident), &inner.sig, given);
                }
                TraitItem::Const(inner) => self.typed("const ", &format!("{path}::{}", inner.ident), &inner.ty),
                TraitItem::Type(inner) => {
                    let path = format!("{path}::{}", inner.ident);
                    self.say(&path, format!("type {path}{}", signature::bounds(&inner.bounds)));
                }
                other => panic!("{path} has a member that the list does not know yet: {}", signature::text(other)),
            }
        }
    }

    /// What is implemented for a public type: its own public items, or a trait.
    fn implementation(&mut self, krate: &Krate, module: &[String], item: &ItemImpl) {
        let of_type = self.krates.type_of(krate, module, &item.self_ty).and_then(|def| self.names.get(&def)).cloned();
        let Some((of_trait, _)) = &item.trait_ else {
            if let Some(path) = of_type {
                item.items.iter().for_each(|inner| self.member(inner, &path));
            }
            return;
        };
        let of_trait = self.krates.resolve_path(krate, module, of_trait);
        let is_public_trait = of_trait.is_some_and(|def| self.names.contains_key(&def));
        if let Some(path) = of_type {
            let shown = signature::with_arguments(&path, &item.self_ty);
            self.say(&path, signature::implementation(item, &shown));
        } else if is_public_trait && signature::is_parameter(item) {
            let shown = signature::text(&item.self_ty);
            self.say(&shown, signature::implementation(item, &shown));
        }
    }

    fn member(&mut self, member: &ImplItem, path: &str) {
        match member {
            ImplItem::Fn(member) if is_public(&member.vis) => {
                self.function("pub ", &format!("{path}::{}", member.sig.ident), &member.sig, "");
            }
            ImplItem::Const(member) if is_public(&member.vis) => {
                self.typed("pub const ", &format!("{path}::{}", member.ident), &member.ty);
            }
            _ => {}
        }
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}
