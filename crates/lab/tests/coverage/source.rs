//! What calls what, read off the sources: tokens, without types.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The files below a folder that end so, in order.
pub(crate) fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("the folder can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

pub(crate) fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn tokens(text: &str) -> Vec<TokenTree> {
    text.parse::<TokenStream>().expect("a source file").into_iter().collect()
}

fn is(token: Option<&TokenTree>, word: &str) -> bool {
    token.is_some_and(|token| token.to_string() == word)
}

fn ident(token: Option<&TokenTree>) -> Option<String> {
    match token {
        Some(TokenTree::Ident(name)) => Some(name.to_string()),
        _ => None,
    }
}

fn group(token: &TokenTree, delimiter: Delimiter) -> Option<Vec<TokenTree>> {
    match token {
        TokenTree::Group(group) if group.delimiter() == delimiter => Some(group.stream().into_iter().collect()),
        _ => None,
    }
}

fn inside(token: &TokenTree) -> Vec<TokenTree> {
    match token {
        TokenTree::Group(group) => group.stream().into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The public traits of a file and the methods that may change a machine.
pub(crate) fn operations(tokens: &[TokenTree]) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for at in 0..tokens.len() {
        if !(is(tokens.get(at), "pub") && is(tokens.get(at + 1), "trait")) {
            continue;
        }
        let Some(name) = ident(tokens.get(at + 2)).filter(|name| name != "Env") else { continue };
        let body = tokens[at..].iter().find_map(|token| group(token, Delimiter::Brace)).unwrap_or_default();
        for at in 0..body.len() {
            let takes = body.get(at + 2).map(inside).unwrap_or_default();
            let changes = is(takes.first(), "&") && is(takes.get(1), "mut") && is(takes.get(2), "self");
            if let (true, true, Some(method)) = (is(body.get(at), "fn"), changes, ident(body.get(at + 1))) {
                found.insert((name.clone(), method));
            }
        }
    }
    found
}

/// Each function and its body; methods as they are called, `self.name`.
pub(crate) fn functions(tokens: &[TokenTree], found: &mut BTreeMap<String, Vec<TokenTree>>) {
    for (at, token) in tokens.iter().enumerate() {
        if let (true, Some(name)) = (is(Some(token), "fn"), ident(tokens.get(at + 1))) {
            let body = tokens[at..].iter().find_map(|token| group(token, Delimiter::Brace));
            let takes = tokens[at..].iter().find_map(|token| group(token, Delimiter::Parenthesis)).unwrap_or_default();
            let method = takes.iter().take(4).any(|token| is(Some(token), "self"));
            let name = if method { format!("self.{name}") } else { name };
            found.entry(name).or_default().extend(body.unwrap_or_default());
        }
        functions(&inside(token), found);
    }
}

/// What is called on one of these: `machine.mmap(..)`, and on others what `follow` knows.
pub(crate) fn calls(
    tokens: &[TokenTree],
    on: &[&str],
    follow: &BTreeMap<String, Vec<TokenTree>>,
    seen: &mut BTreeSet<String>,
) -> BTreeSet<String> {
    let mut called = BTreeSet::new();
    for at in 0..tokens.len() {
        called.extend(calls(&inside(&tokens[at]), on, follow, seen));
        let (Some(name), Some(TokenTree::Group(_))) = (ident(tokens.get(at)), tokens.get(at + 1)) else { continue };
        let of = |back: usize| at.checked_sub(back).and_then(|at| tokens.get(at));
        let method = is(of(1), ".");
        if method && ident(of(2)).is_some_and(|of| on.contains(&of.as_str())) {
            called.insert(name);
            continue;
        }
        let name = match method {
            true if is(of(2), "self") => format!("self.{name}"),
            false if !is(of(1), ":") => name,
            _ => continue,
        };
        if let Some(body) = follow.get(&name)
            && seen.insert(name)
        {
            called.extend(calls(body, on, follow, seen));
        }
    }
    called
}

/// For each variant of `Op` that is matched: what is done then.
pub(crate) fn arms(tokens: &[TokenTree], found: &mut BTreeMap<String, Vec<TokenTree>>) {
    let mut named = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is(tokens.get(at), "Op") && is(tokens.get(at + 1), ":") && is(tokens.get(at + 2), ":") {
            named.extend(ident(tokens.get(at + 3)));
            at += 5;
            continue;
        }
        let arrow = is(tokens.get(at), "=") && is(tokens.get(at + 1), ">");
        let bound = is(tokens.get(at), "=") && !arrow && !is(tokens.get(at + 1), "=");
        if !named.is_empty() && (arrow || bound) {
            let past = if arrow { past_arm(tokens, at + 2) } else { past_block(tokens, at + 1) };
            let from = if arrow { at + 2 } else { at + 1 };
            for name in named.drain(..) {
                found.entry(name).or_default().extend(tokens[from..past].iter().cloned());
            }
            arms(&tokens[from..past], found);
            at = past;
            continue;
        }
        if is(tokens.get(at), ";") {
            named.clear();
        }
        if let Some(TokenTree::Group(_)) = tokens.get(at) {
            arms(&inside(&tokens[at]), found);
        }
        at += 1;
    }
}

/// Does this divide operations among others? Then what it calls is not what each of them calls.
pub(crate) fn is_switch(body: &[TokenTree]) -> bool {
    let mut found = BTreeMap::new();
    arms(body, &mut found);
    found.len() > 1
}

/// Where the expression of an arm ends: at a comma, or behind braces that nothing continues.
fn past_arm(tokens: &[TokenTree], from: usize) -> usize {
    let mut at = from;
    while at < tokens.len() && !is(tokens.get(at), ",") {
        let continues = ["else", ".", "?", ","].into_iter().any(|word| is(tokens.get(at + 1), word));
        if group(&tokens[at], Delimiter::Brace).is_some() && !continues {
            return at + 1;
        }
        at += 1;
    }
    at
}

/// Behind the next braces.
fn past_block(tokens: &[TokenTree], from: usize) -> usize {
    let length = tokens[from..].iter().take_while(|token| group(token, Delimiter::Brace).is_none()).count();
    (from + length + 1).min(tokens.len())
}
