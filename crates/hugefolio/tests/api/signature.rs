//! Signatures as one line of text.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::punctuated::Punctuated;
use syn::{
    Attribute, Fields, FnArg, GenericParam, Generics, ItemImpl, Pat, PatType, Path, PathArguments, Signature, Token,
    Type, TypeParamBound, Variant,
};

/// A piece of syntax, spaced as rustfmt would on one line.
pub(crate) fn text(of: &impl ToTokens) -> String {
    let mut out = String::new();
    print(of.to_token_stream(), &mut out);
    out.trim().to_owned()
}

fn print(tokens: TokenStream, out: &mut String) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{ ", " }"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                if ends_with_keyword(out) {
                    out.push(' ');
                }
                out.push_str(open);
                print(group.stream(), out);
                *out = out.trim_end().to_owned();
                out.push_str(close);
            }
            TokenTree::Punct(punct) => print_sign(punct.as_char(), out),
            other => {
                let touches = out.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ')' || c == ']');
                if touches || (out.ends_with('>') && !out.ends_with(' ')) {
                    out.push(' ');
                }
                out.push_str(&other.to_string());
            }
        }
    }
}

fn print_sign(sign: char, out: &mut String) {
    match sign {
        ',' => out.push_str(", "),
        ';' => out.push_str("; "),
        ':' if out.ends_with(": ") => {
            // The second half of a path's `::`. Users do not see modules and crates, only the name.
            out.truncate(out.len() - 2);
            let word = out.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
            if out[word..].starts_with(|c: char| c.is_uppercase()) {
                out.push_str("::");
            } else {
                out.truncate(word);
            }
        }
        ':' => out.push_str(": "),
        '>' if out.ends_with('-') || out.ends_with('=') => out.push_str("> "),
        '-' => out.push_str(" -"),
        '=' | '+' | '|' => {
            out.push(' ');
            out.push(sign);
            out.push(' ');
        }
        '&' | '\'' | '*' | '#' | '!' => {
            if out.ends_with(|c: char| c.is_alphanumeric()) {
                out.push(' ');
            }
            out.push(sign);
        }
        '>' => {
            *out = out.trim_end().trim_end_matches(',').to_owned();
            out.push('>');
        }
        other => out.push(other),
    }
}

/// A keyword or a lifetime, which a bracket does not belong to.
fn ends_with_keyword(out: &str) -> bool {
    let start = out.rfind(|c: char| !c.is_alphanumeric()).map_or(0, |at| at + 1);
    let word = &out[start..];
    out[..start].ends_with('\'') && !word.is_empty() || ["mut", "dyn", "impl", "for", "as", "where"].contains(&word)
}

/// The beginning of an item: what it is, its path and its parameters.
pub(crate) fn head(what: &str, path: &str, attributes: &[Attribute], generics: &Generics) -> String {
    let open = if attributes.iter().any(|a| a.path().is_ident("non_exhaustive")) { "#[non_exhaustive] " } else { "" };
    format!("{open}{what} {path}{}", parameters(generics))
}

fn parameters(generics: &Generics) -> String {
    let all = text(&generics.params);
    let list = if all.is_empty() { String::new() } else { format!("<{}>", all.trim_end_matches(',')) };
    list + &conditions(generics)
}

fn conditions(generics: &Generics) -> String {
    let Some(clause) = &generics.where_clause else { return String::new() };
    format!(" where {}", text(&clause.predicates).trim_end_matches(','))
}

/// `: A + B`, or nothing.
pub(crate) fn bounds(bounds: &Punctuated<TypeParamBound, Token![+]>) -> String {
    if bounds.is_empty() { String::new() } else { format!(": {}", text(bounds)) }
}

/// An enum's variant with its fields.
pub(crate) fn variant(path: &str, variant: &Variant) -> String {
    let types = |fields: &Punctuated<syn::Field, Token![,]>| {
        let shown = |field: &syn::Field| match &field.ident {
            Some(name) => format!("{name}: {}", text(&field.ty)),
            None => text(&field.ty),
        };
        fields.iter().map(shown).collect::<Vec<_>>().join(", ")
    };
    let fields = match &variant.fields {
        Fields::Named(fields) => format!(" {{ {} }}", types(&fields.named)),
        Fields::Unnamed(fields) => format!("({})", types(&fields.unnamed)),
        Fields::Unit => String::new(),
    };
    let value = variant.discriminant.as_ref().map(|(_, value)| format!(" = {}", text(value)));
    format!("{path}{fields}{}", value.unwrap_or_default())
}

/// A function with its path in the place of its name.
pub(crate) fn function(visibility: &str, path: &str, signature: &Signature) -> String {
    let is_const = if signature.constness.is_some() { "const " } else { "" };
    let arguments = signature.inputs.iter().map(argument).collect::<Vec<_>>().join(", ");
    let result = text(&signature.output);
    let result = if result.is_empty() { result } else { format!(" {result}") };
    let all = text(&signature.generics.params);
    let list = if all.is_empty() { String::new() } else { format!("<{}>", all.trim_end_matches(',')) };
    let conditions = conditions(&signature.generics);
    format!("{visibility}{is_const}fn {path}{list}({arguments}){result}{conditions}")
}

/// An argument; whether the function changes its copy is its own affair.
fn argument(argument: &FnArg) -> String {
    let FnArg::Typed(PatType { pat, ty, .. }) = argument else {
        return text(argument).trim_start_matches("mut ").to_owned();
    };
    match &**pat {
        Pat::Ident(name) => format!("{}: {}", name.ident, text(ty)),
        other => format!("{}: {}", text(other), text(ty)),
    }
}

/// `impl Trait for of_type`.
pub(crate) fn implementation(item: &ItemImpl, of_type: &str) -> String {
    let all = text(&item.generics.params);
    let list = if all.is_empty() { String::new() } else { format!("<{all}>") };
    let of_trait = item.trait_.as_ref().map(|(path, _)| text(path)).unwrap_or_default();
    format!("impl{list} {of_trait} for {of_type}{}", conditions(&item.generics))
}

/// Is it implemented for a type parameter, that is for every type?
pub(crate) fn is_parameter(item: &ItemImpl) -> bool {
    let Type::Path(path) = &*item.self_ty else { return false };
    item.generics.params.iter().any(|parameter| match parameter {
        GenericParam::Type(parameter) => path.path.is_ident(&parameter.ident),
        _ => false,
    })
}

/// `path` with the arguments that the type is written with.
pub(crate) fn with_arguments(path: &str, of: &Type) -> String {
    let Type::Path(written) = of else { return path.to_owned() };
    match written.path.segments.last().map(|segment| &segment.arguments) {
        Some(arguments @ PathArguments::AngleBracketed(_)) => format!("{path}{}", text(arguments)),
        _ => path.to_owned(),
    }
}

/// The traits that a type derives.
pub(crate) fn derives(attributes: &[Attribute]) -> Vec<String> {
    let derive = attributes.iter().filter(|attribute| attribute.path().is_ident("derive"));
    let lists =
        derive.filter_map(|attribute| attribute.parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated).ok());
    lists.flatten().map(|path| text(&path)).collect()
}

/// The paths that a piece of syntax mentions.
pub(crate) fn paths(tokens: TokenStream) -> Vec<Vec<String>> {
    let mut all: Vec<Vec<String>> = Vec::new();
    let mut colons = 0;
    for token in tokens {
        match token {
            TokenTree::Ident(word) => {
                match all.last_mut().filter(|_| colons == 2) {
                    Some(path) => path.push(word.to_string()),
                    None => all.push(vec![word.to_string()]),
                }
                colons = 0;
            }
            TokenTree::Punct(sign) if sign.as_char() == ':' => colons += 1,
            TokenTree::Group(group) => {
                all.extend(paths(group.stream()));
                colons = 0;
            }
            _ => colons = 0,
        }
    }
    all
}
