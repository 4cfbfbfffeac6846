//! Which public operations there are, read off the sources, and which of them are tried, read off the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::quiet::QUIET;

/// What is tried, as text: the tables of operations.
const TABLES: [(&str, &str); 2] = [("OPERATIONS", include_str!("operations.rs")), ("CALLS", include_str!("calls.rs"))];

/// Every public operation: `Trait::method` of the traits of calls, and what the machine itself can be told.
fn public_operations() -> BTreeSet<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeSet::new();
    for folder in [sources.join("calls"), sources] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                operations_in(&std::fs::read_to_string(path).unwrap(), &mut found);
            }
        }
    }
    found
}

fn operations_in(source: &str, found: &mut BTreeSet<String>) {
    for item in syn::parse_file(source).unwrap().items {
        match item {
            // The environment is what operations are written over.
            syn::Item::Trait(of) if is_public(&of.vis) && of.ident != "Env" => {
                let methods = of.items.iter().filter_map(|item| match item {
                    syn::TraitItem::Fn(method) if changes(&method.sig) => Some(&method.sig.ident),
                    _ => None,
                });
                found.extend(methods.map(|method| format!("{}::{method}", of.ident)));
            }
            syn::Item::Impl(of) if of.trait_.is_none() && is_machine(&of.self_ty) => {
                let methods = of.items.iter().filter_map(|item| match item {
                    syn::ImplItem::Fn(method) if is_public(&method.vis) && changes(&method.sig) => {
                        Some(&method.sig.ident)
                    }
                    _ => None,
                });
                found.extend(methods.map(|method| format!("Machine::{method}")));
            }
            _ => (),
        }
    }
}

fn is_public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

fn is_machine(of: &syn::Type) -> bool {
    matches!(of, syn::Type::Path(path) if path.path.is_ident("Machine"))
}

/// Does it take the machine to change it?
fn changes(signature: &syn::Signature) -> bool {
    let reference = match signature.inputs.first() {
        Some(syn::FnArg::Receiver(receiver)) => &receiver.kind,
        _ => return false,
    };
    matches!(reference, syn::ReceiverKind::Reference(_, _, Some(_)))
}

/// The methods that each entry of a table calls, itself or through functions beside it, once the plan is armed.
fn tried() -> BTreeMap<String, BTreeSet<String>> {
    let parsed = TABLES.map(|(name, text)| (name, text.parse::<TokenStream>().unwrap()));
    let mut functions = BTreeMap::new();
    parsed.iter().for_each(|(_, tokens)| functions_in(tokens, &mut functions));
    let mut tried = BTreeMap::new();
    for (table, tokens) in &parsed {
        for (entry, run) in entries(table, tokens) {
            let mut called = BTreeSet::new();
            calls_in(run, &functions, &mut called);
            tried.insert(entry, called);
        }
    }
    tried
}

/// Each function of a file and its body.
fn functions_in(tokens: &TokenStream, found: &mut BTreeMap<String, TokenStream>) {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        let (TokenTree::Ident(word), Some(TokenTree::Ident(name))) = (token, tokens.get(at + 1)) else { continue };
        let body = tokens[at..].iter().find_map(|token| match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group.stream()),
            _ => None,
        });
        if let (true, Some(body)) = (word == "fn", body) {
            found.insert(name.to_string(), body);
        }
    }
}

/// The entries of a table: the name, and the last part, which is what runs.
fn entries(table: &str, tokens: &TokenStream) -> Vec<(String, TokenStream)> {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let named = tokens.windows(2).position(|two| two[0].to_string() == "const" && two[1].to_string() == table);
    let past_type = named.map(|at| &tokens[at..]).unwrap_or_default();
    let value = past_type.iter().skip_while(|token| token.to_string() != "=");
    let rows = value.into_iter().find_map(|token| match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket => Some(group.stream()),
        _ => None,
    });
    let entry = |token| match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis => {
            let parts: Vec<TokenTree> = group.stream().into_iter().collect();
            let cells = parts.split(|token| matches!(token, TokenTree::Punct(comma) if comma.as_char() == ','));
            let cells: Vec<_> = cells.filter(|cell| !cell.is_empty()).collect();
            let name = cells.first()?[0].to_string().trim_matches('"').to_owned();
            Some((name, cells.last()?.iter().cloned().collect()))
        }
        _ => None,
    };
    rows.into_iter().flatten().filter_map(entry).collect()
}

fn calls_in(tokens: TokenStream, functions: &BTreeMap<String, TokenStream>, called: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => calls_in(group.stream(), functions, called),
            TokenTree::Ident(word) => {
                let word = word.to_string();
                let body = functions.get(&word).cloned();
                if called.insert(word)
                    && let Some(body) = body
                {
                    calls_in(body, functions, called);
                }
            }
            _ => (),
        }
    }
}

#[test]
fn every_public_operation_is_made_to_fail_or_asks_for_nothing() {
    let all = public_operations();
    assert!(all.contains("Calls::mmap") && all.contains("Machine::offline_memory") && all.len() > 100, "{all:?}");
    let quiet: BTreeSet<String> = QUIET.iter().map(|&(name, ..)| name.to_owned()).collect();
    let gone: Vec<&String> = quiet.difference(&all).collect();
    assert!(gone.is_empty(), "there are no such operations: {gone:?}");
    let called: BTreeSet<String> = tried().into_values().flatten().collect();
    let method = |operation: &str| operation.rsplit("::").next().unwrap_or_default().to_owned();
    let missed: Vec<&String> =
        all.iter().filter(|operation| !quiet.contains(*operation) && !called.contains(&method(operation))).collect();
    assert!(missed.is_empty(), "neither made to fail nor among those that ask for nothing: {missed:?}");
}

#[test]
fn an_operation_that_nobody_tries_is_noticed() {
    let mut found = BTreeSet::new();
    operations_in("pub trait T { fn a(&mut self); fn b(&self); }\nimpl Machine { pub fn c(&mut self) {} }", &mut found);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["Machine::c", "T::a"]);
    let tried = tried();
    assert!(tried["fill by copy"].contains("uffd_copy"), "what functions beside a table call counts");
    assert!(!tried["close"].contains("memfd"), "what is made beforehand does not count");
}
