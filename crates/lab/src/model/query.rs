//! touch and uaccess; pagemap and smaps.

use super::fault::Fault;
use super::world::{Named, PAGE, PageId};
use super::{Fail, NaiveMachine, Outcome};
use crate::op::{Access, Fill, Pagemap, Smaps, Touch, Uaccess};
use crate::target::{Answer, Extras, StepResult};

/// How many bytes a `touch` answers, and how many letters a `pagemap`.
const LONGEST_ANSWER: usize = 600;

fn huge_page(named: Named, first: u32, index: u64) -> u64 {
    let page = u64::from(first).wrapping_add(index);
    named.addr.wrapping_add(page.wrapping_mul(PAGE))
}

impl NaiveMachine {
    /// Loads or stores one byte of each page, up to the first fault that fails.
    pub(super) fn touch(&mut self, p: u16, op: &Touch) -> Outcome {
        let named = self.named(p, &op.map)?;
        let poff = op.poff.unwrap_or_default().unsigned();
        let fill = op.value.unwrap_or(Fill::new(1));
        let mut extras = Extras { done: Some(0), rd: (op.access == Access::Read).then(Vec::new), ..Extras::default() };
        for i in 0..op.pages.count.get() {
            let addr = huge_page(named, op.pages.first.get(), u64::from(i)).wrapping_add(poff);
            match self.access(p, addr, op.access) {
                Ok(page) => self.load_or_store(page, addr % PAGE, op.access, fill.byte(i), &mut extras),
                Err(fault) => {
                    let (result, code) = match fault {
                        Fault::Bus => (StepResult::Sigbus, 2),
                        Fault::Segv(code) => (StepResult::Sigsegv, code),
                    };
                    extras.sc = Some(code);
                    return Ok(Answer { extras, ..Answer::from(result) });
                }
            }
        }
        Ok(Answer { extras, ..Answer::ok() })
    }

    fn load_or_store(&mut self, page: PageId, at: u64, access: Access, byte: u8, extras: &mut Extras) {
        extras.done = extras.done.map(|done| done + 1);
        match access {
            Access::Write => self.store(page, at, byte),
            Access::Read => {
                let byte = self.page(page).bytes.get(&at).copied().unwrap_or(0);
                let read = extras.rd.get_or_insert_default();
                if read.len() < LONGEST_ANSWER {
                    read.push(byte);
                }
            }
        }
    }

    fn store(&mut self, page: PageId, at: u64, byte: u8) {
        let bytes = &mut self.page_mut(page).bytes;
        if byte == 0 {
            bytes.remove(&at);
        } else {
            bytes.insert(at, byte);
        }
    }

    /// The kernel's own load, or store of a 0, fails with EFAULT whatever the reason.
    pub(super) fn uaccess(&mut self, p: u16, op: &Uaccess) -> Outcome {
        let named = self.named(p, &op.map)?;
        let addr = huge_page(named, op.page.get(), 0);
        match self.access(p, addr, op.access) {
            Ok(page) if op.access == Access::Write => self.store(page, addr % PAGE, 0),
            Ok(_) => {}
            Err(_) => return Err(Fail::Errno("EFAULT")),
        }
        Ok(Answer::ok())
    }

    /// One letter a page: absent, protected, anonymous mapped once or more often, of a file mapped once or more often.
    pub(super) fn pagemap(&mut self, p: u16, op: &Pagemap) -> Outcome {
        let named = self.named(p, &op.map)?;
        let first = op.page.map_or(0, |page| page.get());
        let count = op.count.map_or(named.len / PAGE, |count| u64::from(count.get()));
        let letter = |index: u64| {
            let addr = huge_page(named, first, index);
            let page = self.process(p).entries.get(&addr);
            let state = page.map(|page| self.page(*page));
            match state.map(|page| (page.anon, page.maps == 1)) {
                None => '.',
                Some(_) if self.process(p).protected.contains(&addr) => 'w',
                Some((true, true)) => 'a',
                Some((true, false)) => 'b',
                Some((false, true)) => 'f',
                Some((false, false)) => 'g',
            }
        };
        let pm = (0..count).take(LONGEST_ANSWER - 1).map(letter).collect();
        Ok(Answer { extras: Extras { pm: Some(pm), ..Extras::default() }, ..Answer::ok() })
    }

    /// The VMAs that meet the name's range, and the kilobytes in all of each: shared are pages mapped more than once.
    pub(super) fn smaps(&mut self, p: u16, op: &Smaps) -> Outcome {
        let named = self.named(p, &op.map)?;
        let end = named.addr.saturating_add(named.len.max(1));
        let process = self.process(p);
        let vmas = process.vmas_in(named.addr, end);
        let (mut shared_kb, mut private_kb) = (0, 0);
        for vma in &vmas {
            for (_, page) in process.entries.range(vma.start..vma.end) {
                if self.page(*page).maps > 1 {
                    shared_kb += PAGE >> 10;
                } else {
                    private_kb += PAGE >> 10;
                }
            }
        }
        Ok(Answer {
            extras: Extras {
                vmas: u32::try_from(vmas.len()).ok(),
                shared_kb: Some(shared_kb),
                private_kb: Some(private_kb),
                ..Extras::default()
            },
            ..Answer::ok()
        })
    }
}
