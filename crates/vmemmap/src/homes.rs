//! Which frames descriptors live in.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use units::{PageCount, Pfn};

/// Where a frame full of descriptors comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum FrameSource {
    /// It was there before there was an allocator.
    Boot,
    /// From the page allocator.
    Allocated,
}

/// Frames that follow each other and hold pages of descriptors that do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    pub frame: Pfn,
    pub pages: PageCount,
    pub origin: FrameSource,
}

impl Home {
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

/// The pages of descriptors that have a frame of their own, in runs. An untouched node is one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Homes(BTreeMap<u64, Home>);

impl Homes {
    pub(crate) const NONE: Self = Self(BTreeMap::new());

    /// The run that a page lies in, and its first page.
    fn around(&self, page: u64) -> Option<(u64, Home)> {
        let (&first, &home) = self.0.range(..=page).next_back()?;
        (page - first < home.pages.get()).then_some((first, home))
    }

    pub(crate) fn get(&self, page: u64) -> Option<(Pfn, FrameSource)> {
        let (first, home) = self.around(page)?;
        Some((home.frame.offset(PageCount::new(page - first)), home.origin))
    }

    /// Has any of these pages a frame?
    pub(crate) fn touches(&self, first: u64, pages: PageCount) -> bool {
        self.around(first).is_some() || self.0.range(first..first + pages.get()).next().is_some()
    }

    /// Do all of these pages have frames of their own?
    pub(crate) fn cover(&self, first: u64, pages: PageCount) -> bool {
        let past = first + pages.get();
        let mut at = first;
        while at < past {
            let Some((start, home)) = self.around(at) else { return false };
            at = start + home.pages.get();
        }
        true
    }

    /// Pages get frames, which join their neighbours where these follow each other.
    pub(crate) fn put(&mut self, first: u64, home: Home) {
        debug_assert!(!self.touches(first, home.pages), "page {first} has a frame already");
        let (mut at, mut joined) = (first, home);
        if let Some((&before, &left)) = self.0.range(..first).next_back()
            && before + left.pages.get() == first
            && left.is_followed_by(joined)
        {
            joined = left.up_to(left.pages.get() + joined.pages.get());
            at = before;
        }
        let past = at + joined.pages.get();
        if let Some(&right) = self.0.get(&past)
            && joined.is_followed_by(right)
        {
            self.0.remove(&past);
            joined = joined.up_to(joined.pages.get() + right.pages.get());
        }
        self.0.insert(at, joined);
    }

    /// Pages lose their frames, which are handed out in order.
    pub(crate) fn take(&mut self, first: u64, pages: PageCount) -> Vec<Home> {
        let past = first + pages.get();
        let mut taken = Vec::new();
        let mut at = first;
        while at < past {
            let Some((start, home)) = self.around(at) else {
                debug_assert!(false, "page {at} has no frame to give");
                return taken;
            };
            self.0.remove(&start);
            if start < at {
                self.0.insert(start, home.up_to(at - start));
            }
            let end = start + home.pages.get();
            if end > past {
                self.0.insert(past, home.after(past - start));
            }
            taken.push(home.after(at - start).up_to(end.min(past) - at));
            at = end;
        }
        taken
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Home)> {
        self.0.iter().map(|(&first, &home)| (first, home))
    }

    /// Pages whose frames are of that origin.
    pub(crate) fn count(&self, origin: FrameSource) -> PageCount {
        self.0.values().filter(|home| home.origin == origin).map(|home| home.pages).sum()
    }
}
