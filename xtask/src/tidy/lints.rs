//! The lints that hold rules of STYLE.md are on, for every package.

use super::Violation;
use crate::workspace::Tree;

pub(super) const RULE: &str = "lints-are-on";
const FUNCTION_LINES_MAX: u32 = 70;
const LINTS: [&str; 4] = ["too_many_lines", "unsafe_code", "fn_params_excessive_bools", "iter_over_hash_type"];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut say = |path: &str, message: String| {
        found.push(Violation { path: path.to_owned(), line: None, rule: RULE, message });
    };
    let text = |path: &str| tree.texts.get(path).map_or("", String::as_str);
    for lint in LINTS {
        let level = setting(text("Cargo.toml"), lint);
        if !matches!(level, Some("\"warn\"" | "\"deny\"" | "\"forbid\"")) {
            say("Cargo.toml", format!("lint `{lint}` is off: set it in the workspace's lints"));
        }
    }
    let threshold = setting(text("clippy.toml"), "too-many-lines-threshold").and_then(|n| n.parse().ok());
    if threshold.is_none_or(|n: u32| n > FUNCTION_LINES_MAX) {
        say("clippy.toml", format!("set too-many-lines-threshold = {FUNCTION_LINES_MAX}"));
    }
    // Fuzz targets are no part of the workspace, and their macro writes code without documentation.
    for (path, manifest) in tree.ending("/Cargo.toml").filter(|(path, _)| !path.starts_with("fuzz/")) {
        let lints = manifest.split("\n[lints]").nth(1).map(|section| section.split("\n[").next().unwrap_or(""));
        if lints.and_then(|section| setting(section, "workspace")) != Some("true") {
            say(path, "the workspace's lints are not inherited: add `[lints]` with `workspace = true`".into());
        }
    }
    found
}

/// The value of `name = value`, without a comment behind it.
fn setting<'a>(toml: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.trim().strip_prefix(name)?.trim_start().strip_prefix('=');
    toml.lines().find_map(value).map(|value| value.split('#').next().unwrap_or(value).trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::planted;

    const ROOT: &str = "[workspace.lints.clippy]\ntoo_many_lines = \"warn\"  # 70\nunsafe_code = \"deny\"\n\
                        fn_params_excessive_bools = \"warn\"\niter_over_hash_type = \"warn\"\n";
    const CLIPPY: &str = "too-many-lines-threshold = 70\n";
    const MEMBER: &str = "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n\n[dependencies]\n";

    #[test]
    fn a_lint_that_is_off_is_found() {
        let files = [("Cargo.toml", ROOT), ("clippy.toml", CLIPPY), ("crates/a/Cargo.toml", MEMBER)];
        assert_eq!(check(&planted(&files)), []);
        let faults = [
            ("Cargo.toml", "too_many_lines = \"warn\"", "too_many_lines = \"allow\""),
            ("Cargo.toml", "unsafe_code = \"deny\"", ""),
            ("clippy.toml", "70", "90"),
            ("clippy.toml", "too-many-lines-threshold", "msrv"),
            ("crates/a/Cargo.toml", "workspace = true", "workspace = false"),
            ("crates/a/Cargo.toml", "[lints]", "[lint]"),
        ];
        for (path, from, to) in faults {
            let broken = files.map(|(p, text)| (p, if p == path { text.replace(from, to) } else { text.to_owned() }));
            let broken: Vec<(&str, &str)> = broken.iter().map(|(p, text)| (*p, text.as_str())).collect();
            let found = check(&planted(&broken));
            assert_eq!(found.len(), 1, "{path}: {from} -> {to}");
            assert_eq!(found[0].path, path);
        }
    }
}
