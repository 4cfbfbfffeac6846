//! Knobs: operations that are writes to a file, and the files that stand for them.

use super::name::Actor;
use super::words::{Word, WordOut};
use super::{Op, SizeName, VERBS, Value, Verbatim, Written};

/// A page size in a file's name.
#[derive(Clone, Copy)]
enum SizeForm {
    /// `2048` before `kB`.
    Kilobytes,
    /// `2MB`, `1GB`, `64KB`.
    Bytes,
}

fn size_to_text(log: u8, form: SizeForm) -> Option<String> {
    let kilobytes = 1u64.checked_shl(u32::from(log.checked_sub(10)?))?;
    Some(match form {
        SizeForm::Kilobytes => kilobytes.to_string(),
        SizeForm::Bytes if log >= 30 => format!("{}GB", kilobytes >> 20),
        SizeForm::Bytes if log >= 20 => format!("{}MB", kilobytes >> 10),
        SizeForm::Bytes => format!("{kilobytes}KB"),
    })
}

fn size_from_text(text: &str, form: SizeForm) -> Option<SizeName> {
    let (digits, shift) = match form {
        SizeForm::Kilobytes => (text, 10),
        SizeForm::Bytes => [("GB", 30), ("MB", 20), ("KB", 10)]
            .iter()
            .find_map(|(suffix, shift)| text.strip_suffix(suffix).map(|digits| (digits, *shift)))?,
    };
    let number: u64 = digits.parse().ok().filter(|number: &u64| number.is_power_of_two())?;
    let log = u8::try_from(number.trailing_zeros()).ok()?.checked_add(shift)?;
    let size = (log < 64).then(|| SizeName::from_log2(log))?;
    (size_to_text(log, form)? == text).then_some(size)
}

/// A piece of a file's name: text, or the argument that stands there.
enum Piece<'t> {
    Text(&'t str),
    Argument(&'t str),
}

fn pieces(template: &str) -> impl Iterator<Item = Piece<'_>> {
    template.split(['{', '}']).enumerate().map(
        |(index, piece)| {
            if index % 2 == 0 { Piece::Text(piece) } else { Piece::Argument(piece) }
        },
    )
}

/// Splits `size:kB` into the argument's name and the form of its value.
fn argument_and_form(piece: &str) -> (&str, Option<SizeForm>) {
    match piece.split_once(':') {
        Some((name, "kB")) => (name, Some(SizeForm::Kilobytes)),
        Some((name, _)) => (name, Some(SizeForm::Bytes)),
        None => (piece, None),
    }
}

/// The arguments that stand in `path`, as `name=value` words, if it has the form of `template`.
fn arguments_of(template: &str, path: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = path;
    let mut waiting: Option<&str> = None;
    for piece in pieces(template) {
        let text = match piece {
            Piece::Argument(argument) => {
                waiting = Some(argument);
                continue;
            }
            Piece::Text(text) => text,
        };
        let Some(argument) = waiting.take() else {
            rest = rest.strip_prefix(text)?;
            continue;
        };
        let end = if text.is_empty() { rest.len() } else { rest.find(text)? };
        let value = &rest[..end];
        rest = &rest[end + text.len()..];
        words.push(match argument_and_form(argument) {
            (name, Some(form)) => format!("{name}={}", size_from_text(value, form)?.to_text()),
            (name, None) => format!("{name}={value}"),
        });
    }
    rest.is_empty().then_some(words)
}

/// The operation that a write to `path` is, if it is a known knob.
fn known_knob(path: &str, value: &str) -> Option<Op> {
    VERBS.iter().find_map(|verb| {
        verb.files.iter().find_map(|template| {
            let mut texts = arguments_of(template, path)?;
            texts.push(format!("value={value}"));
            let word = |text| Word { text, at: 0, after_equals: false };
            let words: Vec<Word<'_>> = texts.iter().map(String::as_str).map(word).collect();
            Op::from_words(None::<Actor>, verb.name, &words).ok()
        })
    })
}

/// The operation that `echo VALUE > PATH` is: a known knob, or a write to another file.
pub(crate) fn write_to(path: Verbatim, value: Written) -> Op {
    let text = super::Argument::print(&value).unwrap_or_default();
    known_knob(&path.0, &text).unwrap_or(Op::Write(super::Write { path, value, by: None }))
}

/// The file that `echo VALUE > FILE` writes to do this operation, and the value; `None` if no file stands for it.
pub(crate) fn file_of(op: &Op, words: &[WordOut]) -> Option<(String, String)> {
    if let Op::Write(super::Write { by: Some(_), .. }) = op {
        return None;
    }
    let text_of = |name: &str| words.iter().find(|word| word.info.name == name)?.text.clone();
    let value = text_of("value")?;
    if let Op::Write(write) = op {
        let path = &write.path.0;
        let plain = path.starts_with('/') && Verbatim(path.clone()).to_text() == *path;
        return (plain && known_knob(path, &value).is_none()).then(|| (path.clone(), value));
    }
    op.verb().files.iter().find_map(|template| {
        let mut path = String::new();
        let mut used = 1;
        for piece in pieces(template) {
            match piece {
                Piece::Text(text) => path.push_str(text),
                Piece::Argument(argument) => {
                    used += 1;
                    let (name, form) = argument_and_form(argument);
                    let text = text_of(name)?;
                    match form {
                        None => path.push_str(&text),
                        Some(form) => path.push_str(&size_to_text(SizeName::from_text(&text).ok()?.log2()?, form)?),
                    }
                }
            }
        }
        let given = words.iter().filter(|word| word.text.is_some()).count();
        (used == given && known_knob(&path, &value).as_ref() == Some(op)).then(|| (path, value.clone()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Node, SetNr};

    #[test]
    fn a_sysfs_file_is_the_operation_of_its_pool() {
        let path = "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages";
        let op = write_to(Verbatim(path.to_owned()), Written::Number(2));
        assert_eq!(op, Op::SetNr(SetNr { size: SizeName::G1, value: Written::Number(2), node: None }));
        assert_eq!(op.to_string(), format!("echo 2 > {path}"));
    }

    #[test]
    fn a_file_of_a_node_names_the_node() {
        let path = "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages";
        let op = write_to(Verbatim(path.to_owned()), Written::Text("max".to_owned()));
        let node = Some(Node::new(1));
        assert_eq!(op, Op::SetNr(SetNr { size: SizeName::M2, value: Written::Text("max".to_owned()), node }));
        assert_eq!(op.to_string(), format!("echo max > {path}"));
    }

    #[test]
    fn the_two_limits_of_a_group_are_told_apart() {
        for (file, verb) in [("max", "cg_max"), ("rsvd.max", "cg_rsvd_max")] {
            let path = format!("/sys/fs/cgroup/g0/g1/hugetlb.2MB.{file}");
            let op = write_to(Verbatim(path.clone()), Written::Number(4096));
            assert_eq!(op.verb().name, verb);
            assert_eq!(op.to_string(), format!("echo 4096 > {path}"));
        }
    }

    #[test]
    fn another_file_is_a_plain_write() {
        for path in [
            "/proc/sys/vm/nr_overcommit_hugepages",
            "/sys/kernel/mm/hugepages/hugepages-3kB/nr_hugepages",
            "/sys/kernel/mm/hugepages/hugepages-02048kB/nr_hugepages",
        ] {
            let op = write_to(Verbatim(path.to_owned()), Written::Number(1));
            assert_eq!(op.verb().name, "write");
            assert_eq!(op.to_string(), format!("echo 1 > {path}"));
        }
    }

    #[test]
    fn a_pool_without_file_is_named_by_its_verb() {
        let op = SetNr { size: SizeName::Default, value: Written::Number(1), node: None };
        assert_eq!(Op::from(op).to_string(), "set_nr 1 default");
    }
}
