//! The table of mounts, and what `statfs` says of one.

use std::fmt;

use hugetlbfs::StatFs;
use units::{Bytes, HugeCount, HugeSize};

use super::files::{HostError, HostFiles, HostProblem, Page, error};
use super::host::{HostMount, MountLimits};
use crate::text::number;

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// One line of the table that is about control groups or huge pages.
pub(super) struct MountLine {
    /// The folder of the mounted file system that is its root here.
    pub(super) root: String,
    /// Where it is.
    pub(super) dir: String,
    /// Its type.
    pub(super) kind: String,
    /// The options of the file system.
    pub(super) options: String,
    /// A minimum among them, in bytes.
    pub(super) min: u64,
}

/// The lines about control groups and huge pages. A host may hide its table.
pub(super) fn mount_table(files: &mut dyn HostFiles) -> Result<Vec<MountLine>, HostError> {
    let Some(page) = Page::find(files, MOUNTINFO)? else { return Ok(Vec::new()) };
    let mut table = Vec::new();
    for (n, line) in page.lines() {
        let bad = || page.bad(n, line, "a mount");
        let (place, system) = line.split_once(" - ").ok_or_else(bad)?;
        let words: Vec<&str> = place.split(' ').collect();
        let [_, _, _, root, dir, ..] = words[..] else { return Err(bad()) };
        let mut system = system.split(' ');
        let (Some(kind), Some(_), Some(options)) = (system.next(), system.next(), system.next()) else {
            return Err(bad());
        };
        if !["cgroup", "cgroup2", "hugetlbfs"].contains(&kind) {
            continue;
        }
        let min = options.split(',').find_map(|option| option.strip_prefix("min_size="));
        let min = min.map_or(Some(0), number).ok_or_else(|| page.bad(n, options, "min_size= with a number"))?;
        let (root, dir) = (unescaped(root).ok_or_else(bad)?, unescaped(dir).ok_or_else(bad)?);
        table.push(MountLine { root, dir, kind: kind.to_owned(), options: options.to_owned(), min });
    }
    Ok(table)
}

/// Blanks and the like stand there as `\040`.
fn unescaped(text: &str) -> Option<String> {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (octal, rest) = part.split_at_checked(3)?;
        plain.push(char::from(u8::from_str_radix(octal, 8).ok().filter(u8::is_ascii)?));
        plain.push_str(rest);
    }
    Some(plain)
}

/// Is `path` `dir` or below it?
pub(super) fn below<'a>(path: &'a str, dir: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(dir.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// The mount that holds `dir`.
pub(super) fn mount(
    files: &mut dyn HostFiles,
    table: &[MountLine],
    dir: &str,
    sizes: &[HugeSize],
) -> Result<HostMount, HostError> {
    if !dir.starts_with('/') || dir.split('/').any(|part| part == "..") {
        return Err(error(dir, HostProblem::BadPath));
    }
    let path = StatFsText::path(dir);
    let page = Page::need(files, &path, "it says what statfs says of the mount")?;
    let statfs = StatFsText::parse_page(&page)?.0;
    let size = HugeSize::from_bytes(statfs.block_size).filter(|size| sizes.contains(size));
    let size = size.ok_or_else(|| {
        let what = format!("the mount has pages of {}, for which there is no pool", statfs.block_size);
        error(&path, HostProblem::Contradiction(what))
    })?;
    // The topmost of several mounts in one place comes last.
    let holders = table.iter().filter(|line| line.kind == "hugetlbfs" && below(dir, &line.dir).is_some());
    let min = holders.max_by_key(|line| line.dir.len()).map_or(0, |line| line.min);
    let pages = |n: i64| u64::try_from(n).ok().map(HugeCount::new);
    let (max, free) = (pages(statfs.blocks), pages(statfs.free_blocks));
    let none = statfs.blocks == 0 && statfs.files == 0;
    let limits = MountLimits {
        max,
        used: max.unwrap_or_default().saturating_sub(free.unwrap_or_default()),
        min: size.count_floor(Bytes::new(min)),
    };
    Ok(HostMount { dir: dir.to_owned(), size, limits: (!none).then_some(limits) })
}

impl StatFsText {
    /// Where the text about the mount in `dir` is: Linux has no file for it.
    #[must_use]
    pub fn path(dir: &str) -> String {
        format!("/statfs{}/statfs", dir.trim_end_matches('/'))
    }
}

/// What `statfs` says of a mount, as text: Linux has no file for it, so that a saved host has one of our own. A line for each
/// number, in this order: `type` (in hexadecimal), `bsize`, `blocks`, `bfree`, `bavail`, `files`, `ffree`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatFsText(pub StatFs);

const LABELS: [&str; 7] = ["type", "bsize", "blocks", "bfree", "bavail", "files", "ffree"];
const HUGETLBFS: &str = "0x958458f6";

impl fmt::Display for StatFsText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StatFs { block_size, blocks, free_blocks, files, free_files } = self.0;
        writeln!(f, "type {HUGETLBFS}\nbsize {}\nblocks {blocks}\nbfree {free_blocks}", block_size.get())?;
        writeln!(f, "bavail {free_blocks}\nfiles {files}\nffree {free_files}")
    }
}

impl StatFsText {
    fn parse_page(page: &Page) -> Result<Self, HostError> {
        let mut numbers = [0_i64; 7];
        let mut lines = page.lines();
        for (label, slot) in LABELS.iter().zip(&mut numbers) {
            let Some((n, line)) = lines.next() else {
                return Err(page.lacks(label));
            };
            let value = line.strip_prefix(label).and_then(|rest| rest.strip_prefix(' '));
            let value =
                value.ok_or_else(|| page.bad(n, line, "type, bsize, blocks, bfree, bavail, files, ffree in order"))?;
            if *label == "type" {
                if value != HUGETLBFS {
                    return Err(page.bad(n, value, "a hugetlbfs (0x958458f6): is it mounted there?"));
                }
                continue;
            }
            let signed = value.parse().ok().filter(|&value| value >= -1);
            *slot = signed.ok_or_else(|| page.bad(n, value, "a number, or -1"))?;
        }
        if let Some((n, line)) = lines.next() {
            return Err(page.bad(n, line, "the end of the file"));
        }
        let [_, block_size, blocks, free_blocks, _, files, free_files] = numbers;
        if free_blocks > blocks {
            return Err(page.bad(4, &free_blocks.to_string(), "no more free blocks than there are"));
        }
        let block_size = Bytes::new(u64::try_from(block_size).unwrap_or(0));
        Ok(Self(StatFs { block_size, blocks, free_blocks, files, free_files }))
    }
}
