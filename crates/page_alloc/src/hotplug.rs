//! Memory that comes and goes.

use alloc::vec::Vec;

use policy::{NodeSpec, TopologyError, ZoneRef};
use units::{GfpFlags, Migratetype, Order, PageCount, Pfn};
use zone::tuning::PcpTuning;
use zone::{Found, FreeBlocks, Grouping, Level, StateError, Zone, ZoneLayout, ZoneState};

use crate::allocator::{PageAllocator, Slot};
use crate::contig::{Area, Contig, ContigError, ContigQuestion, ContigRequest, Move, Moved};
use crate::knobs::Knobs;
use crate::rules::Rules;
use crate::zones::Zones;

/// Which memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plug {
    /// The zone that it is to be in, or is in.
    pub zone: ZoneRef,
    /// The first frame.
    pub start: Pfn,
    /// How many.
    pub pages: PageCount,
}

impl Plug {
    fn past(&self) -> Pfn {
        self.start.offset(self.pages)
    }
}

/// Memory did not come or go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HotplugError {
    /// It does not start with a pageblock or does not end with a section.
    #[error("{pages} pages at {start} are not whole pageblocks up to the end of a section")]
    Misaligned {
        /// The first frame.
        start: Pfn,
        /// How many.
        pages: PageCount,
    },
    /// Some of it is there, or belongs to another zone.
    #[error("{0} is there already")]
    Present(Pfn),
    /// Some of it is not there, or of another zone.
    #[error("{0} is not a frame of the zone")]
    Hole(Pfn),
    /// The kernel has no mapping of some of it.
    #[error("the block at {0} has no mapping")]
    Unmapped(Pfn),
    /// Something stays where it is, or somebody interrupted.
    #[error("{0}")]
    Range(#[from] ContigError),
    /// No node would have memory.
    #[error("{0}")]
    Topology(#[from] TopologyError),
    /// The parts do not fit.
    #[error("{0}")]
    State(#[from] StateError),
}

/// What taking memory out waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OfflineQuestion {
    /// As [`ContigQuestion::Move`].
    Move(Move),
    /// As [`ContigQuestion::Leave`].
    Leave(Found),
    /// Something is busy. Nothing is isolated; whoever goes on tries for ever: [`Offline::again`].
    Busy(Pfn),
    /// It is out.
    Done,
    /// It stays, and everything is as it was.
    Failed(HotplugError),
}

/// Memory that is being taken out.
#[derive(Clone, Debug)]
pub struct Offline {
    plug: Plug,
    contig: Contig,
    /// What processors kept of the zone, by processor.
    tuning: Vec<PcpTuning>,
}

fn request(plug: Plug) -> ContigRequest {
    let gfp = GfpFlags::KERNEL | GfpFlags::RETRY_MAYFAIL;
    ContigRequest { zone: plug.zone, start: plug.start, pages: plug.pages, area: Area::Ordinary, gfp }
}

fn is_aligned(plug: Plug, rules: &Rules) -> bool {
    plug.start.is_aligned(rules.pageblock) && plug.past().is_aligned(rules.section) && !plug.pages.is_zero()
}

impl PageAllocator {
    /// Memory comes: it is free, movable, and waits behind what was there. Marks and lists follow from the sizes of now.
    ///
    /// # Errors
    /// Frames that are no whole blocks, or are there; nothing was done.
    #[doc(alias("online_pages", "move_pfn_range_to_zone"))]
    pub fn online(&mut self, plug: Plug, knobs: &Knobs) -> Result<(), HotplugError> {
        let misaligned = HotplugError::Misaligned { start: plug.start, pages: plug.pages };
        let spec = *self.topology().node(plug.zone.node).ok_or(TopologyError::NoSuchNode(plug.zone.node))?;
        if !is_aligned(plug, self.rules()) {
            return Err(misaligned);
        }
        let overlaps = |slot: &Slot| {
            let spans = &slot.zone.layout().spans;
            spans.iter().any(|&(start, end)| start < plug.past() && plug.start < end)
        };
        if self.slots().any(overlaps) {
            return Err(HotplugError::Present(plug.start));
        }
        self.drain_everything();
        let rules = *self.rules();
        let mut state = match self.zone(plug.zone) {
            Some(zone) => zone.state(),
            None => ZoneState::allocated(ZoneLayout {
                node: plug.zone.node,
                kind: plug.zone.kind,
                spans: Vec::new(),
                largest: rules.largest,
                pageblock: rules.pageblock,
            }),
        };
        state.layout.spans.push((plug.start, plug.past()));
        state.layout.spans.sort_unstable();
        join(&mut state.layout.spans);
        // Without grouping whatever gets a type is unmovable, and stays so when grouping begins.
        let migratetype = match self.zone(plug.zone).map_or(rules.grouping, Zone::grouping) {
            Grouping::ByMobility => Migratetype::Movable,
            Grouping::Off => Migratetype::Unmovable,
        };
        if migratetype != Migratetype::Movable {
            let starts =
                (0..plug.pages.get() >> rules.pageblock.get()).map(|n| PageCount::new(n << rules.pageblock.get()));
            state.types.extend(starts.map(|pages| (plug.start.offset(pages), migratetype)));
        }
        state.free.extend(blocks(plug, rules.largest, migratetype));
        let zone = Zone::from_state(&state)?;
        self.replace(plug.zone, Some(zone));
        self.present(plug.zone, spec, spec.present[plug.zone.kind].saturating_add(plug.pages))?;
        self.resized(knobs);
        Ok(())
    }

    /// Begins to take memory out: processors keep nothing of the zone meanwhile.
    ///
    /// # Errors
    /// Frames that are no whole blocks, or not there; nothing was done.
    #[doc(alias = "offline_pages")]
    pub fn offline(&mut self, plug: Plug) -> Result<Offline, HotplugError> {
        if !is_aligned(plug, self.rules()) {
            return Err(HotplugError::Misaligned { start: plug.start, pages: plug.pages });
        }
        let zone = self.zone(plug.zone).ok_or(HotplugError::Hole(plug.start))?;
        let inside = |&(start, end): &(Pfn, Pfn)| start <= plug.start && plug.past() <= end;
        if !zone.layout().spans.iter().any(inside) {
            return Err(HotplugError::Hole(plug.start));
        }
        let unmapped = self.parts(plug.zone).and_then(|parts| parts.bank.blocks().next());
        if let Some(pfn) = unmapped {
            return Err(HotplugError::Unmapped(pfn));
        }
        let tuning = self.switch_lists_off(plug.zone);
        Ok(Offline { plug, contig: Contig::to_take_out(request(plug)), tuning })
    }

    /// What is free of a range that nobody uses leaves the zone; the zone goes with its last frame.
    fn remove(&mut self, plug: Plug, knobs: &Knobs) -> Result<(), HotplugError> {
        let node = plug.zone.node;
        let spec = *self.topology().node(node).ok_or(TopologyError::NoSuchNode(node))?;
        let left = spec.present[plug.zone.kind].saturating_sub(plug.pages);
        // The last memory of the machine stays, and this says so before anything is done.
        self.present(plug.zone, spec, left)?;
        let Some(zone) = self.zone(plug.zone) else { return Ok(()) };
        let mut state = zone.state();
        let outside = |pfn: Pfn| pfn < plug.start || pfn >= plug.past();
        state.layout.spans = state.layout.spans.iter().flat_map(|&span| without(span, plug)).collect();
        state.types.retain(|&(pfn, _)| outside(pfn));
        state.used.retain(|&(pfn, _)| outside(pfn));
        state.movable.retain(|&(pfn, _)| outside(pfn));
        state.reserved.retain(|&(start, _)| outside(start));
        let zone = if state.layout.spans.is_empty() { None } else { Some(Zone::from_state(&state)?) };
        self.replace(plug.zone, zone);
        self.resized(knobs);
        Ok(())
    }

    fn present(&mut self, zone: ZoneRef, spec: NodeSpec, pages: PageCount) -> Result<(), TopologyError> {
        let mut spec = spec;
        spec.present[zone.kind] = pages;
        self.set_node(zone.node, spec)
    }

    /// Sizes have changed: are pages grouped from now on, and which marks follow?
    #[doc(alias("build_all_zonelists", "page_group_by_mobility_disabled"))]
    fn resized(&mut self, knobs: &Knobs) {
        // What only private requests reach groups nothing for others.
        let ordinary = self.topology().states().memory;
        let counts = |slot: &&Slot| ordinary.contains(slot.zone.node());
        let above = |slot: &Slot| slot.zone.managed().saturating_sub(slot.zone.mark(Level::High));
        let pages: PageCount = self.slots().filter(counts).map(above).sum();
        let few = pages.get() < self.rules().pageblock.pages().get() * 6;
        let grouping = if few { Grouping::Off } else { Grouping::ByMobility };
        let rules = Rules { grouping, ..*self.rules() };
        self.set_rules(rules);
        self.recompute(knobs);
    }
}

impl Offline {
    /// Goes on to the first question.
    #[must_use]
    pub fn begin(&mut self, allocator: &mut PageAllocator, knobs: &Knobs) -> OfflineQuestion {
        let question = self.contig.begin(allocator);
        self.follow(allocator, knobs, question)
    }

    /// Goes on to the next question.
    #[must_use]
    pub fn answer(&mut self, allocator: &mut PageAllocator, knobs: &Knobs, moved: Moved) -> OfflineQuestion {
        let question = self.contig.answer(allocator, moved);
        self.follow(allocator, knobs, question)
    }

    /// Huge pages are in it: each is asked to leave, in this order, before anything else is moved.
    #[must_use]
    pub fn with_huge(self, pages: Vec<Found>) -> Self {
        Self { contig: Contig::to_take_out(request(self.plug)).with_huge(pages), ..self }
    }

    /// Tries what was busy once more.
    #[must_use]
    pub fn again(&mut self, allocator: &mut PageAllocator, knobs: &Knobs) -> OfflineQuestion {
        self.contig = Contig::to_take_out(request(self.plug));
        self.begin(allocator, knobs)
    }

    /// Gives it up: processors keep pages of the zone again.
    pub fn cancel(self, allocator: &mut PageAllocator) {
        allocator.switch_lists_on(self.plug.zone, &self.tuning);
    }

    fn follow(&mut self, allocator: &mut PageAllocator, knobs: &Knobs, question: ContigQuestion) -> OfflineQuestion {
        let error = match question {
            ContigQuestion::Move(block) => return OfflineQuestion::Move(block),
            ContigQuestion::Leave(found) => return OfflineQuestion::Leave(found),
            ContigQuestion::Failed(ContigError::Busy(pfn)) => return OfflineQuestion::Busy(pfn),
            ContigQuestion::Done(range) => match allocator.remove(self.plug, knobs) {
                Ok(()) => return OfflineQuestion::Done,
                Err(error) => {
                    let freed = allocator.free_contig(range);
                    debug_assert_eq!(freed, Ok(()), "the range was just taken");
                    error
                }
            },
            ContigQuestion::Failed(error) => HotplugError::Range(error),
        };
        allocator.switch_lists_on(self.plug.zone, &self.tuning);
        OfflineQuestion::Failed(error)
    }
}

/// New memory in blocks as large as they can be, from the first frame up.
fn blocks(plug: Plug, largest: Order, migratetype: Migratetype) -> Vec<FreeBlocks> {
    let (mut at, mut lists) = (plug.start, Vec::new());
    while at < plug.past() {
        let fits = (plug.past().get() - at.get()).ilog2().min(at.get().trailing_zeros());
        let order = u8::try_from(fits).map_or(largest, Order::new).min(largest);
        lists.push(FreeBlocks { order, migratetype, runs: alloc::vec![(at, at)] });
        at = at.offset(order.pages());
    }
    lists
}

/// Spans that touch are one.
fn join(spans: &mut Vec<(Pfn, Pfn)>) {
    spans.dedup_by(|next, before| {
        let touches = before.1 == next.0;
        if touches {
            before.1 = next.1;
        }
        touches
    });
}

fn without(span: (Pfn, Pfn), plug: Plug) -> impl Iterator<Item = (Pfn, Pfn)> {
    let parts = [(span.0, span.1.min(plug.start)), (span.0.max(plug.past()), span.1)];
    parts.into_iter().filter(|&(start, end)| start < end)
}
