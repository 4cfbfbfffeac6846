//! What the descriptors are right now.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use memmap::Broken;
use policy::ZoneRef;
use units::{Order, PageCount, Pfn};

use crate::geometry::Geometry;
use crate::homes::{FrameRuns, FrameSource, Home, Homes, Pages, Reader};
use crate::optimise::Left;
use crate::tails::{TailKey, TailLife, Tails, Use};

/// A block whose descriptors are optimised or restored. Nobody refers to it meanwhile: the caller took it off every list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HugeBlock {
    /// Its first frame.
    pub pfn: Pfn,
    /// Its size.
    pub order: Order,
    /// The zone that it is of.
    pub zone: ZoneRef,
}

/// Are huge pages to be optimised from now on? Those that are there stay as they are.
#[doc(alias("hugetlb_optimize_vmemmap", "hugetlb_free_vmemmap"))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Optimising {
    /// No.
    #[default]
    Off,
    /// Yes.
    On,
}

/// Pages full of descriptors, as `/proc/vmstat` counts them. Shared tails are in neither count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemmapPages {
    /// There since boot.
    #[doc(alias = "nr_memmap_boot_pages")]
    pub boot: PageCount,
    /// From the page allocator, or of the memory that they describe.
    #[doc(alias = "nr_memmap_pages")]
    pub allocated: PageCount,
}

/// Frames that nobody needs once a block is restored.
#[must_use]
#[derive(Debug, Default)]
pub(crate) struct Spare {
    /// What its first page was in.
    pub head: Option<Pfn>,
    /// The tail, if nobody reads it any more.
    pub tail: Option<Pfn>,
}

/// Where all descriptors live, and who shares some.
#[doc(alias("vmemmap", "mem_map"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vmemmap {
    pub(crate) geometry: Geometry,
    /// What becomes of blocks from now on.
    pub optimising: Optimising,
    tail_life: TailLife,
    pub(crate) homes: Homes,
    pub(crate) tails: Tails,
    /// Memory that holds its own descriptors.
    pub(crate) self_hosted: Vec<(Pfn, Pfn)>,
    counts: MemmapPages,
    pub(crate) flushes: u64,
}

impl Vmemmap {
    /// No memory.
    #[must_use]
    pub const fn new(geometry: Geometry, tail_life: TailLife) -> Self {
        Self {
            geometry,
            optimising: Optimising::Off,
            tail_life,
            homes: Homes::NONE,
            tails: Tails::NONE,
            self_hosted: Vec::new(),
            counts: MemmapPages { boot: PageCount::ZERO, allocated: PageCount::ZERO },
            flushes: 0,
        }
    }

    /// The sizes.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// What becomes of a shared tail that nobody reads.
    #[must_use]
    pub const fn tail_life(&self) -> TailLife {
        self.tail_life
    }

    /// Frames from `start` to before `end` are described by pages in frames from `home` on; how many. A page that describes other memory too is
    /// there already, and none is needed for it.
    pub fn describe(&mut self, start: Pfn, end: Pfn, home: Pfn, origin: FrameSource) -> PageCount {
        let Some((mut first, mut past)) = self.pages_between(start, end) else { return PageCount::ZERO };
        if self.homes.get(first).is_some() {
            first += 1;
        }
        if past > first && self.homes.get(past - 1).is_some() {
            past -= 1;
        }
        let pages = PageCount::new(past.saturating_sub(first));
        if !pages.is_zero() {
            self.homes.put(first, Home { frame: home, pages, origin });
            *self.count_mut(origin) += pages;
        }
        pages
    }

    /// Pages that describe these frames, the first and the last in part.
    fn pages_between(&self, start: Pfn, end: Pfn) -> Option<(u64, u64)> {
        let last = Pfn::new(end.get().checked_sub(1)?);
        (start <= last).then(|| (self.geometry.page_of(start), self.geometry.page_of(last) + 1))
    }

    /// As [`Vmemmap::describe`], for memory that holds its own descriptors: nothing of it is ever optimised.
    #[doc(alias = "memmap_on_memory")]
    pub fn describe_by_itself(&mut self, start: Pfn, end: Pfn, home: Pfn) {
        self.self_hosted.push((start, end));
        self.describe(start, end, home, FrameSource::Itself);
    }

    /// Pages full of descriptors.
    #[must_use]
    pub const fn pages(&self) -> MemmapPages {
        self.counts
    }

    /// Pages that are a shared tail.
    #[must_use]
    pub fn tail_pages(&self) -> PageCount {
        PageCount::new(self.tails.iter().count() as u64)
    }

    /// The shared tail of a zone and a size, and how many blocks read it.
    #[must_use]
    pub fn tail(&self, key: TailKey) -> Option<(Pfn, u64)> {
        self.tails.get(key).map(|tail| (tail.frame, tail.users))
    }

    /// Does the block that starts there read a shared tail?
    #[doc(alias = "folio_test_hugetlb_vmemmap_optimized")]
    #[must_use]
    pub fn is_optimised(&self, first: Pfn) -> bool {
        self.reader(first).is_some()
    }

    /// How often translations of descriptors were flushed.
    #[must_use]
    pub const fn flushes(&self) -> u64 {
        self.flushes
    }

    pub(crate) fn note_flush(&mut self) {
        self.flushes += 1;
    }

    const fn count_mut(&mut self, origin: FrameSource) -> &mut PageCount {
        match origin {
            FrameSource::Boot => &mut self.counts.boot,
            FrameSource::Allocated | FrameSource::Itself => &mut self.counts.allocated,
        }
    }

    /// What the block that starts there reads, if it reads a tail.
    fn reader(&self, first: Pfn) -> Option<Reader> {
        self.homes.reader_at(self.geometry.page_of(first)).filter(|reader| first.is_aligned(reader.key.order))
    }

    /// The optimised block that a frame is of.
    pub(crate) fn optimised_around(&self, pfn: Pfn) -> Option<(Pfn, TailKey)> {
        let (page, reader) = self.homes.reader_around(self.geometry.page_of(pfn))?;
        Some((self.geometry.first_of(page), reader.key))
    }

    /// Can the block be optimised?
    pub(crate) fn check(&self, block: HugeBlock) -> Result<TailKey, Left> {
        let end = block.pfn.offset(block.order.pages());
        if self.optimising == Optimising::Off {
            return Err(Left::Off);
        }
        let freeable = self.geometry.freeable(block.order);
        if freeable.is_zero() {
            return Err(Left::TooSmall(block.order));
        }
        let pages = freeable + PageCount::new(1);
        let state = self.homes.state_of(self.geometry.page_of(block.pfn), pages);
        let aligned = block.pfn.is_aligned(block.order);
        if let Pages::Read(reader) = state
            && block.pfn.is_aligned(reader.key.order)
        {
            return Err(Left::Already);
        }
        if self.self_hosted.iter().any(|&(start, past)| start < end && block.pfn < past) {
            return Err(Left::SelfHosted);
        }
        if !aligned || state != Pages::Own {
            return Err(Left::Undescribed(block.pfn));
        }
        Ok(TailKey::new(block.zone, block.order))
    }

    /// The block reads the tail from now on, and its first page of descriptors is in `head`. Nobody may use the frames that held them
    /// before translations are flushed.
    pub(crate) fn remap(&mut self, first: Pfn, used: Use, head: Pfn) -> (FrameRuns, PageCount) {
        let Use { key } = used;
        let pages = self.geometry.block_pages(key.order);
        let old = self.homes.share(self.geometry.page_of(first), Home::page(head), Reader { key, pages });
        old.each(|home| *self.count_mut(home.origin) -= home.pages);
        self.counts.allocated += PageCount::new(1);
        (old, pages.saturating_sub(PageCount::new(1)))
    }

    /// What restoring the block that starts there takes.
    pub(crate) fn needs(&self, first: Pfn) -> Option<(TailKey, PageCount)> {
        let Reader { key, pages } = self.reader(first)?;
        Some((key, pages.saturating_sub(PageCount::new(1))))
    }

    /// The block has all its descriptors again, in these frames.
    pub(crate) fn fill_whole(&mut self, first: Pfn, frames: &FrameRuns) -> Spare {
        let Some((reader, head)) = self.homes.fill_whole(self.geometry.page_of(first), frames) else {
            return Spare::default();
        };
        *self.count_mut(head.origin) -= head.pages;
        self.counts.allocated += frames.pages();
        Spare { head: Some(head.frame), tail: self.leave_tail(reader.key) }
    }

    /// The block has all its descriptors again, behind the first page in these frames.
    pub(crate) fn fill_behind(&mut self, first: Pfn, frames: &FrameRuns) -> Spare {
        let Some(reader) = self.homes.fill_behind(self.geometry.page_of(first), frames) else {
            return Spare::default();
        };
        self.counts.allocated += frames.pages();
        Spare { head: None, tail: self.leave_tail(reader.key) }
    }

    /// Nobody reads the tail through that block any more.
    fn leave_tail(&mut self, key: TailKey) -> Option<Pfn> {
        self.note_flush();
        self.tails.put(Use { key }, self.tail_life)
    }

    /// A use that came to nothing; the tail, if nobody reads it.
    pub(crate) fn unuse(&mut self, used: Use) -> Option<Pfn> {
        self.tails.put(used, self.tail_life)
    }

    /// Frames are numbered below this.
    pub(crate) const FRAMES: u64 = 1 << 52;
    /// No block is larger.
    const LARGEST: Order = Order::new(30);

    /// Optimised blocks by first frame, and whose tail they read.
    pub(crate) fn optimised_blocks(&self) -> impl Iterator<Item = (Pfn, TailKey)> {
        self.homes.readers().map(|(page, reader)| (self.geometry.first_of(page), reader.key))
    }

    /// A run as it was.
    pub(crate) fn add_run(&mut self, describes: Pfn, home: Home) -> Result<(), String> {
        let page = self.geometry.page_of(describes);
        if self.homes.touches(page, home.pages) {
            return Err(format!("{describes} is described twice"));
        }
        self.homes.put_apart(page, home);
        *self.count_mut(home.origin) += home.pages;
        Ok(())
    }

    /// A block that was optimised.
    pub(crate) fn add_optimised(&mut self, first: Pfn, key: TailKey) -> Result<(), String> {
        let possible = key.order <= Self::LARGEST && first.get() < Self::FRAMES;
        if !possible
            || self.tails.claim(key).is_none()
            || self.geometry.freeable(key.order).is_zero()
            || !first.is_aligned(key.order)
        {
            return Err(format!("{first} reads a tail of {key:?}, which cannot be"));
        }
        if self.optimised_around(first).is_some() {
            return Err(format!("{first} is optimised twice"));
        }
        let pages = self.geometry.pages_ceil(key.order.pages());
        let marked = self.homes.mark_reader(self.geometry.page_of(first), Reader { key, pages });
        marked.ok_or_else(|| format!("{first} reads a tail of {key:?}, and its first page is nowhere"))
    }

    /// Recounts: who reads which tail, that every block described has its pages once, and that no frame holds two.
    ///
    /// # Errors
    /// The first disagreement.
    pub fn validate(&self) -> Result<(), Broken> {
        let late = self.homes.count(FrameSource::Allocated) + self.homes.count(FrameSource::Itself);
        let boot = self.homes.count(FrameSource::Boot);
        for (origin, found, counted) in
            [(FrameSource::Boot, boot, self.counts.boot), (FrameSource::Allocated, late, self.counts.allocated)]
        {
            if found != counted {
                return Err(Broken(format!(
                    "{found:?} pages of descriptors are {origin:?}, and {counted:?} are counted"
                )));
            }
        }
        for (key, tail) in self.tails.iter() {
            let users = self.homes.readers().filter(|(_, reader)| reader.key == key).count() as u64;
            if users != tail.users || (users == 0 && self.tail_life == TailLife::Counted) {
                return Err(Broken(format!("{key:?} has {users} users, and {} are counted", tail.users)));
            }
        }
        self.validate_blocks()?;
        self.validate_frames()
    }

    fn validate_blocks(&self) -> Result<(), Broken> {
        let mut past = Pfn::new(0);
        for (page, Reader { key, pages }) in self.homes.readers() {
            let first = self.geometry.first_of(page);
            if first < past || !first.is_aligned(key.order) || pages != self.geometry.pages_ceil(key.order.pages()) {
                return Err(Broken(format!("{first} is optimised as a block of {}, and is none", key.order)));
            }
            past = first.offset(key.order.pages());
            if self.homes.alone(page, pages).is_none() {
                return Err(Broken(format!(
                    "{first} reads a shared tail and has other pages than its first, or not that"
                )));
            }
            if self.tails.get(key).is_none() {
                return Err(Broken(format!("{first} reads the tail of {key:?}, which is gone")));
            }
        }
        Ok(())
    }

    fn validate_frames(&self) -> Result<(), Broken> {
        let homes = self.homes.iter().map(|(_, home)| (home.frame, home.frame.offset(home.pages)));
        let tails = self.tails.iter().map(|(_, tail)| (tail.frame, tail.frame.offset(PageCount::new(1))));
        let mut frames: Vec<(Pfn, Pfn)> = homes.chain(tails).collect();
        frames.sort_unstable();
        match frames.windows(2).find(|two| two[0].1 > two[1].0) {
            Some(two) => Err(Broken(format!("{} holds two pages of descriptors", two[1].0))),
            None => Ok(()),
        }
    }

    /// Every frame that descriptors or tails fill: runs of frames, in no order, with where they come from.
    pub fn frames(&self) -> impl Iterator<Item = (Pfn, PageCount, FrameSource)> {
        let homes = self.homes.iter().map(|(_, home)| (home.frame, home.pages, home.origin));
        homes.chain(self.tails.iter().map(|(_, tail)| (tail.frame, PageCount::new(1), FrameSource::Allocated)))
    }

    /// Takes out a tail that was kept and that nobody reads.
    pub(crate) fn take_unused_tail(&mut self) -> Option<(TailKey, Pfn)> {
        self.tails.take_unused()
    }
}
