//! Which frames descriptors live in.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use units::{PageCount, Pfn};

use crate::tails::TailKey;

/// Where a frame full of descriptors comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum FrameSource {
    /// It was there before there was an allocator.
    Boot,
    /// From the page allocator.
    Allocated,
    /// It is of the memory that it describes, and nobody gets it.
    Itself,
}

/// Frames that follow each other and hold pages of descriptors that do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    pub frame: Pfn,
    pub pages: PageCount,
    pub origin: FrameSource,
}

impl Home {
    /// One page.
    pub(crate) const fn page(frame: Pfn) -> Self {
        Self { frame, pages: ONE, origin: FrameSource::Allocated }
    }

    /// What is left of it from its page `n` on.
    fn after(self, n: u64) -> Self {
        Self { frame: self.frame.offset(PageCount::new(n)), pages: PageCount::new(self.pages.get() - n), ..self }
    }

    fn up_to(self, n: u64) -> Self {
        Self { pages: PageCount::new(n), ..self }
    }

    fn is_followed_by(self, next: Self) -> bool {
        self.origin == next.origin && self.frame.offset(self.pages) == next.frame
    }
}

const ONE: PageCount = PageCount::new(1);

/// Frames in the order of the pages that they hold; mostly it is one run, which takes no memory.
#[derive(Debug, Default)]
pub(crate) struct FrameRuns {
    first: Option<Home>,
    more: Vec<Home>,
}

impl FrameRuns {
    /// More frames, which join those before where they follow them.
    pub(crate) fn push(&mut self, home: Home) {
        let last = self.more.last_mut().or(self.first.as_mut());
        match last {
            Some(last) if last.is_followed_by(home) => last.pages += home.pages,
            Some(_) => self.more.push(home),
            None => self.first = Some(home),
        }
    }

    pub(crate) fn extend(&mut self, others: Self) {
        others.iter().for_each(|home| self.push(home));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Home> {
        self.first.into_iter().chain(self.more.iter().copied())
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[inline]
    pub(crate) fn pages(&self) -> PageCount {
        let mut pages = PageCount::ZERO;
        self.each(|home| pages += home.pages);
        pages
    }

    #[inline]
    pub(crate) fn each(&self, mut f: impl FnMut(Home)) {
        if let Some(first) = self.first {
            f(first);
        }
        self.more.iter().for_each(|&home| f(home));
    }

    /// All of it, if it is one run.
    const fn single(&self) -> Option<Home> {
        if self.more.is_empty() { self.first } else { None }
    }
}

/// A block of which the first page has a frame and the others read a tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reader {
    pub key: TailKey,
    /// Its pages, the first among them.
    pub pages: PageCount,
}

/// What begins at a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    home: Home,
    /// Then the home is a single page.
    reads: Option<Reader>,
}

impl Entry {
    const fn of(home: Home) -> Self {
        Self { home, reads: None }
    }

    /// Pages up to the next entry that can be.
    fn reach(&self) -> u64 {
        self.reads.map_or(self.home.pages, |reader| reader.pages).get()
    }
}

/// How the pages of a block are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pages {
    /// Each has a frame.
    Own,
    /// A block that begins with the first one reads a tail.
    Read(Reader),
    /// Some have none, or read a tail with others.
    Missing,
}

/// The pages of descriptors that have a frame of their own, in runs, and the blocks whose other pages read a tail. An untouched node is one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Homes {
    entries: BTreeMap<u64, Entry>,
    /// Blocks that read a tail: without any, nobody has to look for one.
    readers: u64,
}

impl Homes {
    pub(crate) const NONE: Self = Self { entries: BTreeMap::new(), readers: 0 };

    /// The entry that a page lies in, and its first page.
    fn around(&self, page: u64) -> Option<(u64, &Entry)> {
        let (&first, entry) = self.entries.range(..=page).next_back()?;
        (page - first < entry.reach()).then_some((first, entry))
    }

    /// The frame of a page that has one of its own.
    pub(crate) fn get(&self, page: u64) -> Option<(Pfn, FrameSource)> {
        let (first, &Entry { home, .. }) = self.around(page)?;
        (page - first < home.pages.get()).then(|| (home.frame.offset(PageCount::new(page - first)), home.origin))
    }

    /// The block that a page is of, if it reads a tail, and its first page.
    pub(crate) fn reader_around(&self, page: u64) -> Option<(u64, Reader)> {
        let (first, entry) = self.around(page)?;
        Some((first, entry.reads?))
    }

    /// The block that begins at a page, if it reads a tail.
    #[inline]
    pub(crate) fn reader_at(&self, page: u64) -> Option<Reader> {
        if self.readers == 0 {
            return None;
        }
        self.entries.get(&page)?.reads
    }

    /// Has any of these pages a frame, or reads a tail?
    pub(crate) fn touches(&self, first: u64, pages: PageCount) -> bool {
        self.around(first).is_some() || self.entries.range(first..first + pages.get()).next().is_some()
    }

    /// What is known of pages that are to be a block.
    #[inline]
    pub(crate) fn state_of(&self, first: u64, pages: PageCount) -> Pages {
        // Mostly something begins there.
        match self.entries.get(&first) {
            Some(Entry { reads: Some(reader), .. }) => Pages::Read(*reader),
            Some(Entry { home, .. }) if home.pages >= pages => Pages::Own,
            _ if self.cover(first, pages) => Pages::Own,
            _ => Pages::Missing,
        }
    }

    /// Do all of these pages have frames of their own?
    fn cover(&self, first: u64, pages: PageCount) -> bool {
        let past = first + pages.get();
        let mut at = first;
        while at < past {
            match self.around(at) {
                Some((start, entry)) if entry.reads.is_none() => at = start + entry.home.pages.get(),
                _ => return false,
            }
        }
        true
    }

    /// Pages get frames, which join their neighbours where these follow each other.
    pub(crate) fn put(&mut self, first: u64, home: Home) {
        debug_assert!(!self.touches(first, home.pages), "page {first} has a frame already");
        let (mut at, mut joined) = (first, home);
        if let Some((&before, left)) = self.entries.range(..first).next_back()
            && before + left.reach() == first
            && left.reads.is_none()
            && left.home.is_followed_by(joined)
        {
            joined = left.home.up_to(left.home.pages.get() + joined.pages.get());
            at = before;
        }
        let past = at + joined.pages.get();
        if let Some(right) = self.entries.get(&past).copied()
            && right.reads.is_none()
            && joined.is_followed_by(right.home)
        {
            self.entries.remove(&past);
            joined = joined.up_to(joined.pages.get() + right.home.pages.get());
        }
        self.entries.insert(at, Entry::of(joined));
    }

    /// A run as it was, beside others that it could have joined.
    pub(crate) fn put_apart(&mut self, first: u64, home: Home) {
        self.entries.insert(first, Entry::of(home));
    }

    /// Pages lose their frames, which are handed out in order.
    fn take(&mut self, first: u64, pages: PageCount) -> FrameRuns {
        let past = first + pages.get();
        let mut taken = FrameRuns::default();
        let mut at = first;
        while at < past {
            let Some((start, home)) = self.around(at).map(|(start, entry)| (start, entry.home)) else {
                debug_assert!(false, "page {at} has no frame to give");
                return taken;
            };
            self.entries.remove(&start);
            if start < at {
                self.entries.insert(start, Entry::of(home.up_to(at - start)));
            }
            let end = start + home.pages.get();
            if end > past {
                self.entries.insert(past, Entry::of(home.after(past - start)));
            }
            taken.push(home.after(at - start).up_to(end.min(past) - at));
            at = end;
        }
        taken
    }

    /// A block reads a tail from now on, and its first page is in `head`; the frames that it had.
    pub(crate) fn share(&mut self, first: u64, head: Home, reader: Reader) -> FrameRuns {
        let entry = Entry { home: head, reads: Some(reader) };
        if let Some(whole) = self.entries.get_mut(&first)
            && whole.home.pages == reader.pages
        {
            // Mostly it was restored as a whole before.
            let mut taken = FrameRuns::default();
            taken.push(core::mem::replace(whole, entry).home);
            self.readers += 1;
            return taken;
        }
        let taken = self.take(first, reader.pages);
        self.entries.insert(first, entry);
        self.readers += 1;
        taken
    }

    /// A block that reads a tail has frames for all its pages; what it read, and the frame that its first page was in.
    #[inline]
    pub(crate) fn fill_whole(&mut self, first: u64, frames: &FrameRuns) -> Option<(Reader, Home)> {
        let entry = self.entries.get_mut(&first)?;
        let (head, reader) = (entry.home, entry.reads?);
        self.readers = self.readers.saturating_sub(1);
        if let Some(all) = frames.single() {
            *entry = Entry::of(all);
        } else {
            self.entries.remove(&first);
            self.put_all(first, frames);
        }
        Some((reader, head))
    }

    /// A block that reads a tail has frames for all its pages behind the first; what it read.
    pub(crate) fn fill_behind(&mut self, first: u64, frames: &FrameRuns) -> Option<Reader> {
        let reader = self.entries.get_mut(&first)?.reads.take()?;
        self.readers = self.readers.saturating_sub(1);
        self.put_all(first + 1, frames);
        Some(reader)
    }

    fn put_all(&mut self, first: u64, frames: &FrameRuns) {
        let mut at = first;
        for home in frames.iter() {
            self.put(at, home);
            at += home.pages.get();
        }
    }

    /// The first page of a block is alone and the others read a tail, as it was.
    pub(crate) fn mark_reader(&mut self, first: u64, reader: Reader) -> Option<()> {
        self.get(first)?;
        let head = self.take(first, ONE).single()?;
        self.entries.insert(first, Entry { home: head, reads: Some(reader) });
        self.readers += 1;
        Some(())
    }

    /// Of these pages, has the first one a frame to itself, and the others none?
    pub(crate) fn alone(&self, first: u64, pages: PageCount) -> Option<Home> {
        let mut there = self.entries.range(first..first + pages.get());
        let (&at, entry) = there.next()?;
        (at == first && entry.home.pages == ONE && there.next().is_none()).then_some(entry.home)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Home)> {
        self.entries.iter().map(|(&first, entry)| (first, entry.home))
    }

    /// Blocks that read a tail, by first page.
    pub(crate) fn readers(&self) -> impl Iterator<Item = (u64, Reader)> {
        self.entries.iter().filter_map(|(&first, entry)| Some((first, entry.reads?)))
    }

    /// Pages whose frames are of that origin.
    pub(crate) fn count(&self, origin: FrameSource) -> PageCount {
        self.iter().filter(|(_, home)| home.origin == origin).map(|(_, home)| home.pages).sum()
    }
}
