//! What a process reads about its own mappings.

use std::fs::File;
use std::os::unix::fs::FileExt;

use lab::instance::placed;
use lab::op::{PageIndex, PageTotal};
use lab::target::{Answer, Extras};

use super::Map;
use crate::errno;

const GIGANTIC: u64 = 1 << 30;
/// The most letters of an answer.
const MOST_LETTERS: u64 = 599;

/// One letter a page.
pub(super) fn pagemap(map: &Map, page: Option<PageIndex>, count: Option<PageTotal>) -> Answer {
    let first = page.map_or(0, |page| u64::from(page.get()));
    let count = count.map_or(map.len / map.page.max(1), |count| u64::from(count.get()));
    let file = match File::open("/proc/self/pagemap") {
        Ok(file) => file,
        Err(error) => return errno::failed(errno::of(&error)),
    };
    let mut letters = String::new();
    for index in first..first + count.min(MOST_LETTERS) {
        let address = map.addr.wrapping_add(index.wrapping_mul(map.page));
        let mut entry = [0; 8];
        // What lies behind the last address reads as nothing.
        let _ = file.read_at(&mut entry, address / 4096 * 8);
        letters.push(letter(u64::from_ne_bytes(entry), map.page));
    }
    Answer { extras: Extras { pm: Some(letters), ..Extras::default() }, ..Answer::ok() }
}

/// Whether a page of 1 GiB is mapped once is not reliable on Linux 6.18, so it has one letter.
fn letter(entry: u64, page: u64) -> char {
    let bit = |bit: u32| entry >> bit & 1 == 1;
    let (present, swapped, file, protected, exclusive) = (bit(63), bit(62), bit(61), bit(57), bit(56));
    match (swapped, present, protected) {
        (true, _, true) => 'W',
        (true, _, false) => 'm',
        (false, false, _) => '.',
        (false, true, true) => 'w',
        (false, true, false) if page == GIGANTIC => {
            if file {
                'F'
            } else {
                'A'
            }
        }
        (false, true, false) => match (file, exclusive) {
            (true, true) => 'f',
            (true, false) => 'g',
            (false, true) => 'a',
            (false, false) => 'b',
        },
    }
}

/// VMAs in the mapping's range and the huge pages in them.
pub(super) fn smaps(map: &Map) -> Answer {
    let text = match std::fs::read_to_string("/proc/self/smaps") {
        Ok(text) => text,
        Err(error) => return errno::failed(errno::of(&error)),
    };
    let (start, end) = (map.addr, map.addr.saturating_add(map.len.max(1)));
    let (mut inside, mut vmas, mut shared, mut private) = (false, 0, 0, 0);
    for line in text.lines() {
        if let Some((from, to)) = vma(line) {
            inside = from < end && to > start;
            vmas += u32::from(inside);
        } else if inside {
            shared += kilobytes(line, "Shared_Hugetlb:");
            private += kilobytes(line, "Private_Hugetlb:");
        }
    }
    let vmas = Some(vmas);
    let extras = if map.page == GIGANTIC {
        Extras { vmas, hugetlb_kb: Some(shared + private), ..Extras::default() }
    } else {
        Extras { vmas, shared_kb: Some(shared), private_kb: Some(private), ..Extras::default() }
    };
    Answer { extras, ..Answer::ok() }
}

/// Where the pages of a mapping lie and why.
pub(super) fn numa_maps(map: &Map) -> Answer {
    let text = match std::fs::read_to_string("/proc/self/numa_maps") {
        Ok(text) => text,
        Err(error) => return errno::failed(errno::of(&error)),
    };
    let (start, end) = (map.addr, map.addr.saturating_add(map.len.max(1)));
    let inside = |line: &&str| {
        let first = line.split(' ').next().and_then(|word| u64::from_str_radix(word, 16).ok());
        first.is_some_and(|first| (start..end).contains(&first))
    };
    let lines: Vec<&str> = text.lines().filter(inside).collect();
    Answer { extras: Extras { numa: Some(placed(&lines.join("\n"))), ..Extras::default() }, ..Answer::ok() }
}

/// The range in the first line of a VMA.
fn vma(line: &str) -> Option<(u64, u64)> {
    let (from, to) = line.split(' ').next()?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    number(from).zip(number(to))
}

fn kilobytes(line: &str, name: &str) -> u64 {
    let value = line.strip_prefix(name).and_then(|rest| rest.trim().strip_suffix(" kB"));
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}
