//! Expands the macros that define items: `macro_rules!` of the same file, and those of two crates that we use.

use std::collections::BTreeMap;

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Expr, Ident, Item, Token, Type, Visibility};

/// The items with every macro call replaced by what it stands for.
pub(crate) fn macros(items: Vec<Item>) -> Vec<Item> {
    let mut rules: BTreeMap<String, Vec<Rule>> = BTreeMap::new();
    let mut expanded = Vec::new();
    for item in items {
        let Item::Macro(call) = item else {
            expanded.push(item);
            continue;
        };
        if let Some(name) = &call.ident {
            rules.insert(name.to_string(), rules_of(call.mac.tokens));
            continue;
        }
        let name = call.mac.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        let tokens = match name.as_str() {
            "bitflags" => {
                Parser::parse2(bitflags, call.mac.tokens).unwrap_or_else(|error| panic!("bitflags!: {error}"))
            }
            "new_key_type" => call.mac.tokens,
            // No part of what a room shows.
            "thread_local" => continue,
            _ => {
                let rules = rules.get(&name).unwrap_or_else(|| panic!("the list does not know the macro `{name}!`"));
                expand(&name, rules, call.mac.tokens)
            }
        };
        let file: syn::File = syn::parse2(tokens).unwrap_or_else(|error| panic!("{name}!: {error}"));
        expanded.extend(macros(file.items));
    }
    expanded
}

/// A struct of flags as the struct and the constants that it stands for.
fn bitflags(input: ParseStream<'_>) -> syn::Result<TokenStream> {
    let mut all = TokenStream::new();
    while !input.is_empty() {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility: Visibility = input.parse()?;
        input.parse::<Token![struct]>()?;
        let name: Ident = input.parse()?;
        input.parse::<Token![:]>()?;
        let bits: Type = input.parse()?;
        let body;
        syn::braced!(body in input);
        let mut flags = Vec::new();
        while !body.is_empty() {
            body.call(Attribute::parse_outer)?;
            body.parse::<Token![const]>()?;
            flags.push(body.parse::<Ident>()?);
            body.parse::<Token![=]>()?;
            body.parse::<Expr>()?;
            body.parse::<Token![;]>()?;
        }
        all.extend(quote! {
            #(#attributes)* #visibility struct #name(#bits);
            impl #name { #(pub const #flags: Self = Self(0);)* }
        });
    }
    Ok(all)
}

/// One arm of a `macro_rules!`.
struct Rule {
    pattern: Vec<TokenTree>,
    body: Vec<TokenTree>,
}

fn rules_of(tokens: TokenStream) -> Vec<Rule> {
    let groups: Vec<Group> = tokens
        .into_iter()
        .filter_map(|token| match token {
            TokenTree::Group(group) => Some(group),
            _ => None,
        })
        .collect();
    let rule = |pair: &[Group]| Rule { pattern: list(pair[0].stream()), body: list(pair[1].stream()) };
    groups.chunks_exact(2).map(rule).collect()
}

fn expand(name: &str, rules: &[Rule], input: TokenStream) -> TokenStream {
    let input = list(input);
    let matching = rules.iter().find_map(|rule| {
        let (bound, rest) = matches(&rule.pattern, &input)?;
        let bound = bound.iter().map(|(name, bound)| (name.clone(), bound)).collect();
        rest.is_empty().then(|| transcribe(&rule.body, &bound))
    });
    matching.unwrap_or_else(|| panic!("no arm of `{name}!` fits a call of it"))
}

/// What a name of a pattern stands for: tokens, or one thing for each repetition.
enum Bound {
    Tokens(TokenStream),
    Each(Vec<Bound>),
}

fn list(tokens: TokenStream) -> Vec<TokenTree> {
    tokens.into_iter().collect()
}

fn is_punct(token: Option<&TokenTree>, sign: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

/// Matches the beginning of `input`; what is left comes back.
fn matches<'t>(pattern: &[TokenTree], input: &'t [TokenTree]) -> Option<(BTreeMap<String, Bound>, &'t [TokenTree])> {
    let mut bound = BTreeMap::new();
    let (mut at, mut rest) = (0, input);
    while at < pattern.len() {
        if let Some(repetition) = Repetition::at(pattern, at) {
            rest = match_each(&repetition, rest, &mut bound);
            at = repetition.next;
        } else if is_punct(pattern.get(at), '$') {
            let (tokens, left) = fragment(&pattern[at + 3].to_string(), rest)?;
            bound.insert(pattern[at + 1].to_string(), Bound::Tokens(tokens));
            rest = left;
            at += 4;
        } else {
            match (&pattern[at], rest.first()?) {
                (TokenTree::Group(wanted), TokenTree::Group(found)) if wanted.delimiter() == found.delimiter() => {
                    let found = list(found.stream());
                    let (inner, left) = matches(&list(wanted.stream()), &found)?;
                    if !left.is_empty() {
                        return None;
                    }
                    bound.extend(inner);
                }
                (wanted, found) if wanted.to_string() == found.to_string() => {}
                _ => return None,
            }
            rest = &rest[1..];
            at += 1;
        }
    }
    Some((bound, rest))
}

/// Matches a repetition as often as it goes.
fn match_each<'t>(
    repetition: &Repetition,
    input: &'t [TokenTree],
    bound: &mut BTreeMap<String, Bound>,
) -> &'t [TokenTree] {
    let mut rest = input;
    let mut rounds = Vec::new();
    while let Some((round, left)) = matches(&repetition.inner, rest).filter(|(_, left)| left.len() < rest.len()) {
        rounds.push(round);
        rest = left;
        match repetition.separator {
            Some(sign) if is_punct(rest.first(), sign) => rest = &rest[1..],
            Some(_) => break,
            None => {}
        }
    }
    let mut names = Vec::new();
    names_in(&repetition.inner, &mut names);
    for name in names {
        let each = rounds.iter_mut().filter_map(|round| round.remove(&name)).collect();
        bound.insert(name, Bound::Each(each));
    }
    rest
}

/// `$( inner ) separator *`
struct Repetition {
    inner: Vec<TokenTree>,
    separator: Option<char>,
    /// The place after it.
    next: usize,
}

impl Repetition {
    fn at(tokens: &[TokenTree], at: usize) -> Option<Self> {
        let Some(TokenTree::Group(group)) = tokens.get(at + 1).filter(|_| is_punct(tokens.get(at), '$')) else {
            return None;
        };
        let is_operator = |at| ['*', '+', '?'].iter().any(|&sign| is_punct(tokens.get(at), sign));
        let separator = match tokens.get(at + 2) {
            Some(TokenTree::Punct(punct)) if !is_operator(at + 2) => Some(punct.as_char()),
            _ => None,
        };
        let next = at + 3 + usize::from(separator.is_some());
        Some(Self { inner: list(group.stream()), separator, next })
    }
}

/// The names that a pattern or a body mentions.
fn names_in(tokens: &[TokenTree], names: &mut Vec<String>) {
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => names_in(&list(group.stream()), names),
            TokenTree::Ident(name) if at > 0 && is_punct(tokens.get(at - 1), '$') => names.push(name.to_string()),
            _ => {}
        }
    }
}

/// One fragment from the beginning of `input`.
fn fragment<'t>(kind: &str, input: &'t [TokenTree]) -> Option<(TokenStream, &'t [TokenTree])> {
    fn parsed<T: syn::parse::Parse + ToTokens>(input: ParseStream<'_>) -> syn::Result<(TokenStream, usize)> {
        let found = input.parse::<T>()?.to_token_stream();
        Ok((found, list(input.parse()?).len()))
    }
    let all: TokenStream = input.iter().cloned().collect();
    let (found, left) = match kind {
        "ident" => parsed::<Ident>.parse2(all),
        "literal" => parsed::<syn::Lit>.parse2(all),
        "ty" => parsed::<Type>.parse2(all),
        "meta" => parsed::<syn::Meta>.parse2(all),
        "expr" => parsed::<Expr>.parse2(all),
        "tt" => parsed::<TokenTree>.parse2(all),
        _ => panic!("the list does not know fragments of the kind `{kind}`"),
    }
    .ok()?;
    Some((found, &input[input.len() - left..]))
}

fn transcribe(body: &[TokenTree], bound: &BTreeMap<String, &Bound>) -> TokenStream {
    let mut out = TokenStream::new();
    let mut at = 0;
    while let Some(token) = body.get(at) {
        if let Some(repetition) = Repetition::at(body, at) {
            let mut names = Vec::new();
            names_in(&repetition.inner, &mut names);
            let rounds = names.iter().filter_map(|name| match bound.get(name) {
                Some(Bound::Each(each)) => Some(each.len()),
                _ => None,
            });
            for round in 0..rounds.max().unwrap_or(0) {
                let inside = bound.iter().filter_map(|(name, &bound)| match bound {
                    Bound::Each(each) => Some((name.clone(), each.get(round)?)),
                    Bound::Tokens(_) => Some((name.clone(), bound)),
                });
                out.extend(transcribe(&repetition.inner, &inside.collect()));
                if let Some(separator) = repetition.separator {
                    out.extend([TokenTree::Punct(proc_macro2::Punct::new(separator, proc_macro2::Spacing::Alone))]);
                }
            }
            at = repetition.next;
            continue;
        }
        match (token, body.get(at + 1).map(ToString::to_string).and_then(|name| bound.get(&name).copied())) {
            (TokenTree::Punct(sign), Some(Bound::Tokens(tokens))) if sign.as_char() == '$' => {
                out.extend(tokens.clone());
                at += 1;
            }
            (TokenTree::Group(group), _) => {
                let inner = transcribe(&list(group.stream()), bound);
                out.extend([TokenTree::Group(Group::new(group.delimiter(), inner))]);
            }
            (other, _) => out.extend([other.clone()]),
        }
        at += 1;
    }
    out
}
