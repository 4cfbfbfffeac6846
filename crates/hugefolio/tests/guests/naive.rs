//! Guest memory with one record for each base page, and nothing else.

/// What one base page of a file is.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) shared: bool,
    pub(super) views: Vec<bool>,
    pub(super) pins: u32,
    pub(super) byte: u8,
    /// The order of the guest's leaf.
    pub(super) leaf: Option<u8>,
}

/// What one huge page of a file is, where it is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backed {
    pub(super) id: usize,
    pub(super) split: bool,
}

#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) pages: Vec<Page>,
    pub(super) backed: Vec<Option<Backed>>,
    pub(super) views: usize,
    pub(super) allotment: usize,
}

/// A huge page of a file that is gone: pins by base page.
#[derive(Clone, Debug)]
pub(super) struct Orphan {
    pub(super) id: usize,
    pub(super) pins: Vec<u32>,
    pub(super) allotment: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Allotment {
    pub(super) pages: usize,
    pub(super) used: usize,
    pub(super) closed: bool,
    pub(super) ended: bool,
}

/// The answers that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    Byte(u8),
    NoMemory(Option<usize>),
    Held(Option<usize>),
    Private,
    Invalid,
}

#[derive(Clone, Debug)]
pub(super) struct Naive {
    /// Base pages of a huge page.
    pub(super) size: usize,
    pub(super) order: u8,
    /// Pages of descriptors that an optimised page gives back.
    pub(super) freeable: i64,
    /// By page of the pool: does it share its descriptors?
    pub(super) optimised: Vec<bool>,
    /// Free pages, last in first out.
    pub(super) free: Vec<usize>,
    pub(super) allotments: Vec<Allotment>,
    pub(super) file: Option<File>,
    pub(super) orphans: Vec<Orphan>,
    /// The next page of descriptors that is asked for is refused.
    pub(super) lacking: bool,
}

impl Naive {
    pub(super) fn reserved(&self) -> usize {
        self.allotments.iter().filter(|a| !a.ended).map(|a| a.pages - a.used).sum()
    }

    pub(super) fn charged(&self) -> usize {
        self.allotments.iter().filter(|a| !a.ended).map(|a| a.pages).sum()
    }

    /// Pages of descriptors more than with all of the pool optimised.
    pub(super) fn descriptors(&self) -> i64 {
        self.freeable * i64::try_from(self.optimised.iter().filter(|&&o| !o).count()).unwrap()
    }

    pub(super) fn create(&mut self, pages: usize) -> Answer {
        if self.free.len() - self.reserved() < pages {
            return Answer::NoMemory(None);
        }
        self.allotments.push(Allotment { pages, used: 0, closed: false, ended: false });
        let page = Page { shared: false, views: Vec::new(), pins: 0, byte: 0, leaf: None };
        self.file = Some(File {
            pages: vec![page; pages * self.size],
            backed: vec![None; pages],
            views: 0,
            allotment: self.allotments.len() - 1,
        });
        Answer::Done
    }

    fn file(&mut self) -> &mut File {
        self.file.as_mut().unwrap()
    }

    fn range(&self, n: usize) -> std::ops::Range<usize> {
        n * self.size..(n + 1) * self.size
    }

    /// Is a page of descriptors refused now?
    fn refused(&mut self) -> bool {
        self.freeable > 0 && std::mem::take(&mut self.lacking)
    }

    fn split(&mut self, id: usize) -> bool {
        if self.optimised[id] && self.refused() {
            return false;
        }
        self.optimised[id] = false;
        true
    }

    fn optimise(&mut self, id: usize) {
        if !self.optimised[id] && self.freeable > 0 && !self.refused() {
            self.optimised[id] = true;
        }
    }

    fn back(&mut self, n: usize) -> Answer {
        if self.file().backed[n].is_some() {
            return Answer::Done;
        }
        let id = self.free.pop().unwrap();
        let range = self.range(n);
        let shared = self.file().pages[range.clone()].iter().any(|page| page.shared);
        if shared && !self.split(id) {
            self.free.push(id);
            return Answer::NoMemory(None);
        }
        let allotment = self.file().allotment;
        self.allotments[allotment].used += 1;
        let file = self.file();
        file.backed[n] = Some(Backed { id, split: shared });
        file.pages[range].iter_mut().for_each(|page| page.byte = 0);
        Answer::Done
    }

    pub(super) fn allocate(&mut self, from: usize, to: usize) -> Answer {
        for n in from / self.size..to.div_ceil(self.size) {
            match self.back(n) {
                Answer::Done => (),
                refused => return refused,
            }
        }
        Answer::Done
    }

    pub(super) fn guest(&mut self, at: usize, write: Option<u8>) -> Answer {
        let n = at / self.size;
        match self.back(n) {
            Answer::Done => (),
            refused => return refused,
        }
        let (order, range) = (self.order, self.range(n));
        let file = self.file();
        if file.pages[at].leaf.is_none() {
            if file.backed[n].unwrap().split {
                file.pages[at].leaf = Some(0);
            } else {
                file.pages[range].iter_mut().for_each(|page| page.leaf = Some(order));
            }
        }
        file.pages[at].byte = write.unwrap_or(file.pages[at].byte);
        Answer::Byte(file.pages[at].byte)
    }

    pub(super) fn host(&mut self, view: usize, at: usize, write: Option<u8>) -> Answer {
        if !self.file().pages[at].shared {
            return Answer::Private;
        }
        match self.back(at / self.size) {
            Answer::Done => (),
            refused => return refused,
        }
        let page = &mut self.file().pages[at];
        page.views[view] = true;
        page.byte = write.unwrap_or(page.byte);
        Answer::Byte(page.byte)
    }

    pub(super) fn pin(&mut self, view: usize, at: usize) -> Answer {
        match self.host(view, at, None) {
            Answer::Byte(_) => {
                self.file().pages[at].pins += 1;
                Answer::Done
            }
            refused => refused,
        }
    }

    pub(super) fn map(&mut self) {
        let file = self.file();
        file.views += 1;
        file.pages.iter_mut().for_each(|page| page.views.push(false));
    }

    fn unmap(&mut self, range: std::ops::Range<usize>) {
        self.file().pages[range].iter_mut().for_each(|page| page.views.fill(false));
    }

    pub(super) fn convert(&mut self, from: usize, to: usize, shared: bool) -> Answer {
        let size = self.size;
        if self.file().pages[from..to].iter().all(|page| page.shared == shared) {
            return Answer::Done;
        }
        let mut at = from;
        while at < to {
            let n = at / size;
            // What is in memory goes huge page by huge page; what is not, together.
            let end = match self.file().backed[n] {
                Some(_) => (n + 1) * size,
                None => (n + 1..self.file().backed.len())
                    .find(|&n| self.file().backed[n].is_some())
                    .map_or(to, |n| n * size),
            };
            let batch = at..end.min(to);
            let backed = self.file().backed[n];
            if shared {
                if let Some(Backed { id, split: false }) = backed {
                    let around = self.range(n);
                    self.file().pages[around].iter_mut().for_each(|page| page.leaf = page.leaf.map(|_| 0));
                    if !self.split(id) {
                        return Answer::NoMemory(Some(batch.start));
                    }
                    self.file().backed[n] = Some(Backed { id, split: true });
                }
            } else {
                self.unmap(batch.clone());
                let held = batch.clone().find(|&at| self.file().pages[at].pins > 0);
                if held.is_some() {
                    return Answer::Held(held);
                }
            }
            for page in &mut self.file().pages[batch.clone()] {
                // Only who may touch them no longer loses them.
                if page.shared != shared {
                    (page.shared, page.leaf) = (shared, None);
                }
            }
            let around = self.range(n);
            if let Some(Backed { id, split: true }) = backed
                && self.file().pages[around].iter().all(|page| !page.shared)
            {
                self.optimise(id);
                self.file().backed[n] = Some(Backed { id, split: false });
            }
            at = batch.end;
        }
        Answer::Done
    }

    /// A huge page goes back to the pool.
    fn give_back(&mut self, id: usize, allotment: usize) {
        self.free.push(id);
        self.allotments[allotment].used -= 1;
        self.end(allotment);
    }

    fn end(&mut self, allotment: usize) {
        let it = &mut self.allotments[allotment];
        it.ended |= it.closed && it.used == 0;
    }

    pub(super) fn punch(&mut self, from: usize, to: usize) -> Answer {
        if !from.is_multiple_of(self.size) || !to.is_multiple_of(self.size) {
            return Answer::Invalid;
        }
        self.unmap(from..to);
        let there = |file: &File, at: usize, size: usize| file.backed[at / size].is_some() && file.pages[at].pins > 0;
        let size = self.size;
        if let Some(_held) = (from..to).find(|&at| there(self.file(), at, size)) {
            return Answer::Held(None);
        }
        let all: Vec<usize> = (from / size..to / size).collect();
        for &n in &all {
            if let Some(Backed { id, split: true }) = self.file().backed[n] {
                self.optimise(id);
            }
        }
        self.file().pages[from..to].iter_mut().for_each(|page| page.leaf = None);
        for n in all {
            let allotment = self.file().allotment;
            if let Some(Backed { id, .. }) = self.file().backed[n].take() {
                self.give_back(id, allotment);
            }
        }
        Answer::Done
    }

    pub(super) fn close(&mut self) {
        let file = self.file.take().unwrap();
        for (n, backed) in file.backed.iter().enumerate() {
            let Some(Backed { id, split }) = *backed else { continue };
            let pins: Vec<u32> = file.pages[self.range(n)].iter().map(|page| page.pins).collect();
            if pins.iter().any(|&n| n > 0) {
                self.orphans.push(Orphan { id, pins, allotment: file.allotment });
                continue;
            }
            if split {
                self.optimise(id);
            }
            self.give_back(id, file.allotment);
        }
        self.allotments[file.allotment].closed = true;
        self.end(file.allotment);
    }

    pub(super) fn unpin(&mut self, id: usize, at: usize) {
        if let Some(file) = &mut self.file
            && let Some(n) = file.backed.iter().position(|backed| backed.is_some_and(|backed| backed.id == id))
        {
            file.pages[n * self.size + at].pins -= 1;
            return;
        }
        let n = self.orphans.iter().position(|orphan| orphan.id == id).unwrap();
        self.orphans[n].pins[at] -= 1;
        if self.orphans[n].pins.iter().all(|&n| n == 0) {
            let orphan = self.orphans.remove(n);
            self.optimise(id);
            self.give_back(id, orphan.allotment);
        }
    }
}
