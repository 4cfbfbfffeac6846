//! The list of mistakes.
//!
//! An entry is a few words on lines of their own, then the lines of one place with their mistake, as in a diff:
//!
//! ```text
//! mistake NAME
//! kind    what sort of mistake it is
//! file    the file, from the project's root
//! test    arguments of `cargo test`; what follows ` -- ` goes to the tests
//! flags   RUSTFLAGS, where the tests need some
//!  a line before, where the wrong line alone is not the only one like it
//! -the line as it is
//! +the line with the mistake
//! ```
//!
//! Lines are compared without what indents them. Lines that begin with `#` say something to the reader.

use super::trial::Trial;

/// One deliberate mistake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mutant {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) file: String,
    pub(super) trial: Trial,
    edit: Vec<Edit>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Edit {
    Keep(String),
    Drop(String),
    Add(String),
}

/// Reads the list.
pub(super) fn parse(text: &str) -> Result<Vec<Mutant>, String> {
    let mut mutants: Vec<Mutant> = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: &str| format!("mutants: line {number}: {what}: {line}\n");
        if let Some(name) = line.strip_prefix("mistake ") {
            mutants.push(Mutant { name: name.trim().to_owned(), ..Mutant::default() });
            continue;
        }
        let mutant = mutants.last_mut().ok_or_else(|| wrong("an entry begins with `mistake NAME`"))?;
        let edit = match line.split_at_checked(1) {
            Some((" ", kept)) => Some(Edit::Keep(kept.to_owned())),
            Some(("-", old)) => Some(Edit::Drop(old.to_owned())),
            Some(("+", new)) => Some(Edit::Add(new.to_owned())),
            _ => None,
        };
        if let Some(edit) = edit {
            mutant.edit.push(edit);
            continue;
        }
        let (key, value) = line.split_once(' ').ok_or_else(|| wrong("a word and what it says"))?;
        let value = value.trim().to_owned();
        match key {
            "kind" => mutant.kind = value,
            "file" => mutant.file = value,
            "test" => mutant.trial.set_words(&value),
            "flags" => mutant.trial.flags = value,
            _ => return Err(wrong("not a word of an entry")),
        }
    }
    mutants.iter().try_for_each(Mutant::check)?;
    Ok(mutants)
}

impl Mutant {
    fn check(&self) -> Result<(), String> {
        let count = |wanted: fn(&Edit) -> bool| self.edit.iter().filter(|edit| wanted(edit)).count();
        let (dropped, added) = (count(|e| matches!(e, Edit::Drop(_))), count(|e| matches!(e, Edit::Add(_))));
        let lacks = [&self.kind, &self.file].into_iter().any(String::is_empty) || self.trial.words.is_empty();
        if lacks || dropped > 1 || added > 1 || dropped + added == 0 {
            return Err(format!(
                "mutants: {}: it takes a kind, a file, a test, and one line that changes\n",
                self.name
            ));
        }
        Ok(())
    }

    /// The source with the mistake.
    ///
    /// # Errors
    /// Its lines are there no more, or more than once.
    pub(super) fn apply_to(&self, source: Option<&str>) -> Result<String, String> {
        let source = source.ok_or_else(|| format!("mutants: {}: there is no {}\n", self.name, self.file))?;
        let lines: Vec<&str> = source.lines().collect();
        let old = |edit: &Edit| match edit {
            Edit::Keep(line) | Edit::Drop(line) => Some(line.trim().to_owned()),
            Edit::Add(_) => None,
        };
        let old: Vec<String> = self.edit.iter().filter_map(old).collect();
        let is_here = |at: &usize| lines[*at..].iter().zip(&old).all(|(line, old)| line.trim() == old);
        let places: Vec<usize> = (0..=lines.len().saturating_sub(old.len())).filter(is_here).collect();
        let &[at] = places.as_slice() else {
            let found = places.len();
            return Err(format!(
                "mutants: {}: {} has its lines {found} times, not once: mend the entry\n",
                self.name, self.file
            ));
        };
        let mut new: Vec<&str> = lines[..at].to_vec();
        let mut from = at;
        for edit in &self.edit {
            match edit {
                Edit::Add(line) => new.push(line),
                Edit::Keep(_) => new.push(lines[from]),
                Edit::Drop(_) => (),
            }
            from += usize::from(!matches!(edit, Edit::Add(_)));
        }
        new.extend(&lines[from..]);
        Ok(new.join("\n") + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str =
        "mistake one\nkind off by one\nfile a.rs\ntest -p a --lib -- name\n fn f() {\n-a < b\n+a <= b\n";

    #[test]
    fn an_entry_changes_its_line_and_no_other() {
        let mutants = parse(&format!("# a note\n\n{ENTRY}")).unwrap();
        let [mutant] = mutants.as_slice() else { panic!("{mutants:?}") };
        let source = "fn g() {\n    a < b\n}\nfn f() {\n    a < b\n}\n";
        assert_eq!(mutant.apply_to(Some(source)).unwrap(), "fn g() {\n    a < b\n}\nfn f() {\na <= b\n}\n");
        assert_eq!(mutant.trial.words, ["-p", "a", "--lib"]);
        assert_eq!(mutant.trial.filter, ["name"]);
    }

    #[test]
    fn an_entry_whose_line_is_gone_or_there_twice_is_named() {
        let mutants = parse(ENTRY).unwrap();
        for source in ["fn f() {\n  a > b\n", "fn f() {\n a < b\n fn f() {\n a < b\n"] {
            let why = mutants[0].apply_to(Some(source)).unwrap_err();
            assert!(why.contains("one: a.rs has its lines"), "{why}");
        }
        assert!(mutants[0].apply_to(None).unwrap_err().contains("there is no a.rs"));
    }

    #[test]
    fn an_entry_that_lacks_something_is_refused() {
        for text in ["kind x\n", "mistake a\n", "mistake a\nkind b\nfile c\n-x\n+y\n", "mistake a\nsort b\n"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&ENTRY.replace("-a < b\n", "-a < b\n-c\n")).is_err(), "two lines are two mistakes");
    }
}
