//! Relative links in Markdown lead to files of the project, and to headings that those have.

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
            let problems = targets(line).into_iter().filter_map(|target| problem(tree, path, folder, &target));
            found.extend(problems.map(|message| Violation {
                path: path.to_owned(),
                line: Some(index + 1),
                rule: RULE,
                message,
            }));
        }
    }
    found
}

/// What is wrong with a link on the page at `path`, if anything is.
fn problem(tree: &Tree, path: &str, folder: &str, target: &str) -> Option<String> {
    let (file, heading) = target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
    let file = file.trim_end_matches('/');
    let resolved = if file.is_empty() { Some(path.to_owned()) } else { resolve(folder, file) };
    let Some(resolved) = resolved.filter(|file| file.is_empty() || tree.paths.contains(file)) else {
        return Some(format!("`{file}` is not a file of the project"));
    };
    let (heading, text) = heading.zip(tree.texts.get(&resolved))?;
    let is_there = headings(text).any(|known| known == heading);
    (!is_there).then(|| format!("`{resolved}` has no heading `#{heading}`"))
}

/// The headings of a page as links name them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let titles = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    titles.map(|title| {
        let letters = title.chars().flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c });
        letters.filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
    })
}

/// The relative targets of `[text](target)` outside code spans.
fn targets(line: &str) -> Vec<String> {
    let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
    let links = prose.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let local = links.filter(|link| !link.is_empty() && !link.contains("://") && !link.starts_with("mailto:"));
    local.map(ToOwned::to_owned).collect()
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
        let page = |text: &str| {
            check(&planted(&[("docs/a/page.md", text), ("docs/b.md", "## Top of *b*\n"), ("README.md", "")])).len()
        };
        let fine = "# H, i: `J`\n[b](../b.md#top-of-b), [r](../../README.md), [docs](../../docs/), [w](https://x.org/y), [here](#h-i-j), `[c](d)`\n\
                    ```\n[e](f)\n```\n[root](../..)\n";
        assert_eq!(page(fine), 0);
        for link in ["../c.md", "b.md", "/docs/b.md", "../../../README.md", "b.md#top", "../b.md#top", "#b"] {
            assert_eq!(page(&format!("see [x]({link}) and `code`")), 1, "{link}");
        }
    }
}
