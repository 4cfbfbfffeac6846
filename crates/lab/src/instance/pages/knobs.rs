//! Knobs of ordinary pages, by their files, and files that show them.

use hugefolio::pages::{Compaction, Knobs, PageAllocator, Zones, protect, resize_lists, set_marks};
use hugefolio::text::{Buddyinfo, FreeBlocks, PageKnob, PageKnobWrite};
use hugefolio::tuning::HighFraction;
use hugefolio::watermark::{BoostFactor, ReserveRatios, ScaleFactor, buffer_pages, min_free_default};
use hugefolio::{KnobError, Level, NodeId, PageShift, ZoneKind, ZoneRef};

use super::Pages;
use super::script::Script;
use crate::instance::answers;
use crate::target::Answer;

/// What the knobs are before anybody writes one.
pub(super) fn usual(allocator: &PageAllocator) -> Knobs {
    let zones = places(allocator);
    let of = |place: &ZoneRef| {
        let zone = allocator.zone(*place)?;
        place.kind.is_for_kernel().then(|| (zone.managed(), zone.mark(Level::High)))
    };
    let shift = PageShift::K4;
    Knobs {
        min_free: min_free_default(buffer_pages(zones.iter().filter_map(of)), shift),
        scale: ScaleFactor::default(),
        ratios: ReserveRatios::default(),
        fraction: HighFraction::default(),
        shift,
    }
}

/// The zones that there are, in order.
fn places(allocator: &PageAllocator) -> Vec<ZoneRef> {
    let place = |zone: &hugefolio::Zone| ZoneRef { node: zone.node(), kind: zone.layout().kind };
    allocator.zones().map(|(zone, _)| place(zone)).collect()
}

impl Pages {
    /// Writes a file, if it is one of these.
    pub(in crate::instance) fn write(&mut self, path: &str, text: &[u8]) -> Option<Answer> {
        let knob: PageKnob = path.parse().ok()?;
        let written = match knob.read_write(text, self.knobs.ratios) {
            Ok(written) => written?.value,
            Err(error) => return Some(answers::failed(&KnobError::Pages(error))),
        };
        match written {
            PageKnobWrite::MinFree(min_free) => self.knobs.min_free = min_free,
            PageKnobWrite::Scale(scale) => self.knobs.scale = scale,
            PageKnobWrite::Ratios(ratios) => self.knobs.ratios = ratios,
            PageKnobWrite::Fraction(fraction) => self.knobs.fraction = fraction,
            PageKnobWrite::Boost(factor) => self.boost(factor),
            PageKnobWrite::CompactAll => {
                let nodes: Vec<NodeId> = self.allocator.topology().states().online.iter().collect();
                nodes.into_iter().for_each(|node| self.compact_node(node));
            }
            PageKnobWrite::Compact(node) => self.compact_node(node),
        }
        match written {
            PageKnobWrite::MinFree(_) | PageKnobWrite::Scale(_) => set_marks(&mut self.allocator, &self.knobs),
            PageKnobWrite::Fraction(_) => resize_lists(&mut self.allocator, &self.knobs),
            PageKnobWrite::Ratios(ratios) => protect(&mut self.allocator, &ratios),
            _ => (),
        }
        Some(Answer::ok())
    }

    fn boost(&mut self, factor: BoostFactor) {
        for place in places(&self.allocator) {
            if let Some(parts) = self.allocator.parts(place) {
                parts.zone.set_boost_factor(factor);
            }
        }
    }

    fn compact_node(&mut self, node: NodeId) {
        let compaction = Compaction::whole(&self.allocator, node);
        self.compacted(compaction, &mut Script::new(None));
    }

    /// The text of a file, if it is one of these.
    pub(in crate::instance) fn read(&self, path: &str) -> Option<String> {
        if path == "/proc/buddyinfo" {
            let row = |place: ZoneRef| {
                let blocks = self.allocator.zone(place)?.free_blocks().collect();
                Some(FreeBlocks { node: place.node, zone: place.kind, blocks })
            };
            return Some(Buddyinfo(places(&self.allocator).into_iter().filter_map(row).collect()).to_string());
        }
        let Knobs { min_free, scale, ratios, fraction, .. } = self.knobs;
        Some(match path.parse().ok()? {
            PageKnob::MinFreeKbytes => format!("{}\n", min_free.get() >> 10),
            PageKnob::WatermarkScaleFactor => format!("{}\n", scale.get()),
            PageKnob::PercpuPagelistHighFraction => format!("{}\n", fraction.get()),
            PageKnob::LowmemReserveRatio => {
                let ratios = ZoneKind::OF_64_BITS.map(|kind| ratios.0[kind].to_string());
                format!("{}\n", ratios.join("\t"))
            }
            PageKnob::WatermarkBoostFactor => {
                let first = self.allocator.zones().next();
                format!("{}\n", first.map_or(0, |(zone, _)| zone.boost_factor().0))
            }
            PageKnob::CompactMemory | PageKnob::CompactNode(_) => return None,
        })
    }
}
