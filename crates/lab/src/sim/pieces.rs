//! Pages that are mapped in pieces: two mappings of a file, one that is watched and one that brings the pages.

use hugefolio::Machine;

use super::draw::{Draw, op};
use crate::op::Op;

const BASE: u64 = 4096;

impl Draw {
    pub(super) fn piece(&mut self, machine: &Machine) -> Option<String> {
        let few = self.pieces.len() < 2;
        if self.pieces.is_empty() || self.random.percent(if few { 12 } else { 2 }) {
            return self.piece_file(machine);
        }
        let known: Vec<_> = self.pieces.iter().map(|(key, of)| (*key, *of)).collect();
        let ((a, n), (len, page)) = self.random.any(known)?;
        let range = self.part(len, page);
        let pages = len / page;
        let at = self.random.below(u32::try_from(pages).unwrap_or(1));
        let whole = format!("{}..{}", u64::from(at) * page, u64::from(at + 1) * page);
        let poff = self.random.of(&[0, BASE, 16 * BASE, page / 2, page - BASE]) % page;
        let watched = *self.random.of(&["PA", "PA", "PA", "PB", "PC"]);
        Some(match self.random.below(48) {
            0..14 => format!("a{a} uffd_continue PU{n} PA{n} {range}"),
            14..19 => {
                let write =
                    if self.random.percent(40) { format!(" write poff={poff} = 3") } else { format!(" poff={poff}") };
                format!("a{a} touch {watched}{n} p{at}{write}")
            }
            19..22 => format!("a{a} touch PB{n} p0..{pages} write = {}", self.random.below(99)),
            22..25 => {
                format!("a{a} madvise {watched}{n} {} collapse", if self.random.percent(80) { &whole } else { &range })
            }
            25 => format!("a{a} madvise {watched}{n} {whole} split"),
            26 => format!(
                "a{a} madvise {watched}{n} {whole} {}",
                self.random.of(&["dontneed", "remove", "populate_read", "populate_write"])
            ),
            27 => format!("a{a} munmap {watched}{n} {whole}"),
            28 => format!("a{a} fallocate P{n} {whole} punch"),
            29 => format!("a{a} ftruncate P{n} {}", self.random.of(&[len, 0, page])),
            30..32 => format!("a{a} uffd_wp PU{n} PA{n} {whole}{}", self.random.of(&["", " wp"])),
            32 => format!("a{a} uffd_unregister PU{n} PA{n} {whole}"),
            33 => {
                format!("a{a} uffd_register PU{n} PA{n} 0..{len} {}", self.random.of(&["minor", "minor,wp", "missing"]))
            }
            34 => format!("a{a} mprotect {watched}{n} {whole} {}", self.random.of(&["r", "rw", "none"])),
            35..37 => format!(
                "a{a} pin k{} {watched}{n} p{at} {}",
                self.random.below(3),
                self.random.of(&["vfio", "pipe", "direct write"])
            ),
            37 => format!("a{a} unpin k{}", self.random.below(3)),
            38 => format!("a{a} mremap {watched}{n} {len} {len} maymove,fixed to=PC{n}"),
            39 => format!("a{a} mmap PC{n} {len} {} file=P{n}", self.random.of(&["shared", "private"])),
            40..42 => format!("a{a} pagemap {watched}{n}"),
            42 if self.random.percent(50) => format!("a{a} fsync P{n}"),
            42 => format!("a{a} smaps {watched}{n}"),
            43 => format!("a{a} mincore {watched}{n} 0..{len}"),
            44 => format!("a{a} uaccess {watched}{n} {at} {}", self.random.of(&["read", "write"])),
            45 if self.random.percent(15) => {
                format!("a{a} {} {watched}{n} {whole}", self.random.of(&["hwpoison", "soft_offline"]))
            }
            45 => format!("a{a} move_page {watched}{n} {at} {} flags=all", self.random.below(self.nodes)),
            46 => format!("a{a} uffd_copy PU{n} PA{n} {whole} = 5"),
            _ => {
                self.pieces.remove(&(a, n));
                format!("a{a} close P{n}")
            }
        })
    }

    /// A part of a mapping: base pages, or whole pages of a size between.
    fn part(&mut self, len: u64, page: u64) -> String {
        let grain = *self.random.of(&[BASE, BASE, BASE, 16 * BASE, 512 * BASE, page]);
        let all = u32::try_from(len / grain).unwrap_or(u32::MAX).max(1);
        let first = *self.random.of(&[0, 0, 1, 2, all - 1, self.random.clone().below(all)]);
        let count = *self.random.of(&[1, 1, 1, 2, 5, 16]);
        let odd = if self.random.percent(2) { 512 } else { 0 };
        format!("{}..{}", u64::from(first) * grain + odd, u64::from(first + count) * grain)
    }

    /// A file, its two mappings, and who watches one of them.
    fn piece_file(&mut self, machine: &Machine) -> Option<String> {
        let a = self.actor()?;
        let n = self.random.below(3);
        let sizes = Self::sizes(machine);
        let page = *self.random.of(&sizes);
        let pages = u64::from(self.random.between(1, 2));
        let len = pages * page;
        let mode = *self.random.of(&["minor", "minor", "minor", "minor,wp"]);
        self.pieces.insert((a, n), (len, page));
        let lines = [
            format!("a{a} ftruncate P{n} {len}"),
            format!("a{a} mmap PA{n} {len} shared file=P{n}"),
            format!("a{a} mmap PB{n} {len} shared file=P{n}"),
            format!("a{a} madvise PA{n} 0..{len} split"),
            format!("a{a} uffd_open PU{n}"),
            format!("a{a} uffd_register PU{n} PA{n} 0..{len} {mode}"),
            format!("a{a} touch PB{n} p0..{pages} write = 7"),
        ];
        self.next.extend(lines.iter().map(|line| op(line)));
        Some(format!("a{a} memfd P{n} pagesize={page}"))
    }

    pub(super) fn observe_pieces(&mut self, op: &Op) {
        match op {
            Op::Exit(_) | Op::Kill(_) => {
                let gone = op.actor().map(|actor| actor.number());
                self.pieces.retain(|(actor, _), _| Some(*actor) != gone);
            }
            Op::Fork(fork) => {
                let (parent, child) = (fork.actor.number(), fork.child.number());
                let of: Vec<_> = self
                    .pieces
                    .iter()
                    .filter(|((actor, _), _)| *actor == parent)
                    .map(|(key, of)| (key.1, *of))
                    .collect();
                self.pieces.extend(of.into_iter().map(|(n, of)| ((child, n), of)));
            }
            _ => {}
        }
    }
}
