//! Relative links in Markdown lead to files of the project.

use super::Violation;
use crate::workspace::Tree;

pub(super) const RULE: &str = "links-resolve";

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    tree.ending(".md").flat_map(|(path, text)| check_page(tree, path, text)).collect()
}

fn check_page(tree: &Tree, path: &str, text: &str) -> Vec<Violation> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            for target in targets(line) {
                if resolve(folder, &target).is_none_or(|file| !file.is_empty() && !tree.paths.contains(&file)) {
                    let message = format!("`{target}` is not a file of the project");
                    found.push(Violation { path: path.to_owned(), line: Some(index + 1), rule: RULE, message });
                }
            }
        }
    }
    found
}

/// The relative targets of `[text](target)` outside code spans.
fn targets(line: &str) -> Vec<String> {
    let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
    let links = prose.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let files = links.map(|link| link.split('#').next().unwrap_or(""));
    let local = files.filter(|link| !link.is_empty() && !link.contains("://") && !link.starts_with("mailto:"));
    local.map(|link| link.trim_end_matches('/').to_owned()).collect()
}

/// The path relative to the workspace; nothing where it leads out of it.
fn resolve(folder: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    if target.starts_with('/') {
        return None;
    }
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::planted;

    #[test]
    fn a_link_to_nowhere_is_found() {
        let page =
            |text: &str| check(&planted(&[("docs/a/page.md", text), ("docs/b.md", ""), ("README.md", "")])).len();
        let fine = "[b](../b.md#top), [r](../../README.md), [docs](../../docs/), [w](https://x.org/y), [here](#h), `[c](d)`\n\
                    ```\n[e](f)\n```\n[root](../..)\n";
        assert_eq!(page(fine), 0);
        for link in ["../c.md", "b.md", "/docs/b.md", "../../../README.md", "b.md#top"] {
            assert_eq!(page(&format!("see [x]({link}) and `code`")), 1, "{link}");
        }
    }
}
