//! Pages of 1 GiB: a pool of two at most, some of them demoted, mapped and cut a page at a time.
//!
//! They have names of their own, so that what else is drawn leaves them alone. No process forks that has a private mapping of them:
//! now and then 6.18 leaves an entry out of the copy.

use crate::op::Op;
use crate::target::Answer;

use super::Generator;

/// A mapping of one or two pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Map {
    process: u16,
    name: u32,
    pages: u32,
    private: bool,
}

/// What there is of them once the operation drawn last succeeds.
#[derive(Debug, Clone, Copy)]
enum Change {
    Nothing,
    Mapped(Map),
    Opened { process: u16, name: u32 },
    Closed { process: u16, name: u32 },
}

/// What the generator believes there is of these pages.
#[derive(Debug, Clone, Default)]
pub(super) struct Gigantic {
    maps: Vec<Map>,
    /// Descriptors by process.
    files: Vec<(u16, u32)>,
    /// The answer to come is to one of these operations.
    pending: Option<Change>,
}

impl Gigantic {
    /// Takes in an answer; says whether it was to one of these operations.
    pub(super) fn observe(&mut self, op: &Op, answer: &Answer) -> bool {
        let pending = self.pending.take();
        if !answer.result.is_ok() {
            return pending.is_some();
        }
        match (op, pending) {
            (Op::Exit(_) | Op::Kill(_), _) => {
                let gone = op.actor().map(|actor| actor.number());
                self.maps.retain(|map| Some(map.process) != gone);
                self.files.retain(|(process, _)| Some(*process) != gone);
            }
            (Op::Fork(fork), _) => {
                let (parent, child) = (fork.actor.number(), fork.child.number());
                let maps: Vec<Map> = self.maps.iter().filter(|map| map.process == parent).copied().collect();
                self.maps.extend(maps.into_iter().map(|map| Map { process: child, ..map }));
                let files: Vec<u32> = self.files.iter().filter(|file| file.0 == parent).map(|file| file.1).collect();
                self.files.extend(files.into_iter().map(|name| (child, name)));
            }
            (_, Some(Change::Mapped(new))) => {
                self.maps.retain(|map| (map.process, map.name) != (new.process, new.name));
                self.maps.push(new);
            }
            (_, Some(Change::Opened { process, name })) => self.files.push((process, name)),
            (_, Some(Change::Closed { process, name })) => self.files.retain(|file| *file != (process, name)),
            (_, Some(Change::Nothing) | None) => (),
        }
        pending.is_some()
    }

    /// May the process fork?
    pub(super) fn may_fork(&self, process: u16) -> bool {
        !self.maps.iter().any(|map| map.process == process && map.private)
    }
}

impl Generator {
    /// An operation on pages of 1 GiB, if there is anything to do it to.
    pub(super) fn gigantic(&mut self) -> Option<Op> {
        let (line, change) = match self.random.below(10) {
            0 => (self.gigantic_knob(), Change::Nothing),
            1 | 2 => self.gigantic_map()?,
            3 => self.gigantic_file()?,
            4 => (self.gigantic_cut()?, Change::Nothing),
            _ => (self.gigantic_use()?, Change::Nothing),
        };
        let op = line.parse().ok()?;
        self.gigantic.pending = Some(change);
        Some(op)
    }

    /// The pool, or a mount for its pages.
    fn gigantic_knob(&mut self) -> String {
        match self.random.below(10) {
            0..=3 => format!("set_nr {} 1G", self.random.of(&[0, 1, 1, 2, 2])),
            4..=7 => {
                format!("echo {} > /sys/kernel/mm/hugepages/hugepages-1048576kB/demote", self.random.between(1, 2))
            }
            8 => {
                let limits = *self.random.of(&["", " size=2G", " size=1G min_size=1G", " min_size=1G"]);
                format!("mount G pagesize=1G{limits}")
            }
            _ => "umount G".to_owned(),
        }
    }

    /// A new mapping, of a file if there is one.
    fn gigantic_map(&mut self) -> Option<(String, Change)> {
        let process = self.process()?.number();
        let (name, pages) = (self.random.below(3), self.random.between(1, 2));
        let private = self.random.percent(50);
        let share = if private { "private" } else { "shared" };
        let file = self.gigantic.files.iter().filter(|file| file.0 == process).map(|file| file.1).collect::<Vec<_>>();
        let more = *self.random.of(&["", "", "", ",noreserve", ",populate"]);
        let line = match self.random.any(file).filter(|_| self.random.percent(60)) {
            Some(file) => format!("a{process} mmap g{name} {pages}G {share}{more} file=h{file} pagesize=1G"),
            None => format!("a{process} mmap g{name} {pages}G {share},anon{more} pagesize=1G"),
        };
        Some((line, Change::Mapped(Map { process, name, pages, private })))
    }

    fn gigantic_file(&mut self) -> Option<(String, Change)> {
        let process = self.process()?.number();
        let name = self.random.below(2);
        Some(match self.random.below(4) {
            0 => (format!("a{process} memfd h{name} pagesize=1G"), Change::Opened { process, name }),
            1 => (format!("a{process} open h{name} G/x{name} creat"), Change::Opened { process, name }),
            2 => (format!("a{process} ftruncate h{name} {}G", self.random.below(3)), Change::Nothing),
            _ => (format!("a{process} close h{name}"), Change::Closed { process, name }),
        })
    }

    fn a_gigantic_map(&mut self) -> Option<Map> {
        let maps = self.gigantic.maps.clone();
        self.random.any(maps)
    }

    /// What takes pages away.
    fn gigantic_cut(&mut self) -> Option<String> {
        if self.random.percent(30) {
            let (process, name) = self.random.any(self.gigantic.files.clone())?;
            let mode = *self.random.of(&["", " punch"]);
            return Some(format!(
                "a{process} fallocate h{name} {}{mode}",
                self.random.of(&["0..1G", "0..2G", "1G..2G"])
            ));
        }
        let Map { process, name, pages, .. } = self.a_gigantic_map()?;
        let first = self.random.below(pages);
        let range = format!("{first}G..{pages}G");
        Some(match self.random.below(5) {
            0 | 1 => format!("a{process} munmap g{name} {range}"),
            2 => format!("a{process} madvise g{name} {range} dontneed"),
            3 => format!("a{process} madvise g{name} {range} remove"),
            _ => format!("a{process} mremap g{name} {pages}G 1G maymove"),
        })
    }

    /// What uses pages, or asks for them.
    fn gigantic_use(&mut self) -> Option<String> {
        let Map { process, name, pages, .. } = self.a_gigantic_map()?;
        let first = self.random.below(pages);
        let value = self.random.below(200);
        Some(match self.random.below(12) {
            0..=3 => format!("a{process} touch g{name} p{first}..{pages} write = {value}"),
            4 | 5 => format!("a{process} touch g{name} p{first}..{pages}"),
            6 => format!("a{process} uaccess g{name} p{first} write"),
            7 => format!("a{process} mprotect g{name} {first}G..{pages}G {}", self.random.of(&["r", "rw"])),
            8 => format!("a{process} pagemap g{name}"),
            9 => format!("a{process} smaps g{name}"),
            10 => format!("a{process} mlock g{name} {first}G..{pages}G"),
            _ => format!("a{process} touch g{name} p{first} write poff=512M = {value}"),
        })
    }
}
